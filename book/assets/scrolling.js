// What is wider than the page scrolls in a box of its own. While it does, the box can be reached
// with Tab, so that the arrow keys scroll it; a box that fits is no stop on the way.
(() => {
  const BOXES = "table, pre, .tex, .output.text_html";
  const scrolls = (box) =>
    box.scrollWidth > box.clientWidth + 1 &&
    ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  const before = new Map(); // boxes whose tabindex is ours -> what it was; null where there was none
  const update = () => {
    // First all is read, then all is written: the page is laid out once only.
    const boxes = [...document.querySelectorAll("article :is(" + BOXES + ")")];
    for (const [box, wide] of boxes.map((box) => [box, scrolls(box)])) {
      if (wide && box.tabIndex < 0) {
        before.set(box, box.getAttribute("tabindex"));
        box.setAttribute("tabindex", "0");
      } else if (!wide && before.has(box)) {
        const was = before.get(box);
        if (was === null) box.removeAttribute("tabindex");
        else box.setAttribute("tabindex", was);
        before.delete(box);
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
