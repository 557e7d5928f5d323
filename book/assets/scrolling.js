// What is wider than the page scrolls in a box of its own. While it does, the box can be reached
// with Tab, so that the arrow keys scroll it; a box that fits is no stop on the way.
(() => {
  const BOXES =
    "table, pre, div.math, span.math, .katex, .katex-display, .output.text_html";
  const scrolls = (box) =>
    box.scrollWidth > box.clientWidth + 1 &&
    ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  const OWN = "data-scrolls"; // marks the boxes whose tabindex is ours
  const update = () => {
    // First all is read, then all is written: the page is laid out once only.
    const boxes = [...document.querySelectorAll("article :is(" + BOXES + ")")];
    for (const [box, wide] of boxes.map((box) => [box, scrolls(box)])) {
      if (wide && !box.hasAttribute("tabindex")) {
        box.setAttribute("tabindex", "0");
        box.setAttribute(OWN, "");
      } else if (!wide && box.hasAttribute(OWN)) {
        box.removeAttribute("tabindex");
        box.removeAttribute(OWN);
      }
    }
  };
  let planned = 0;
  const plan = () => {
    cancelAnimationFrame(planned);
    planned = requestAnimationFrame(update);
  };
  addEventListener("resize", plan);
  addEventListener("load", () => {
    update();
    document.fonts.ready.then(plan); // those of the formulas may come later
  });
  // What was folded has a width only once it is opened.
  document.addEventListener("toggle", plan, true);
})();
