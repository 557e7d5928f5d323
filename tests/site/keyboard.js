// Evaluated in a loaded page: lists what a keyboard must reach, and notes what Tab comes by.
() => {
  const TAKEN = "a[href], button, input, select, textarea, summary, [tabindex]";
  const shown = (node) => {
    const box = node.getBoundingClientRect();
    const asked = { opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true };
    // A closed sidebar stands outside of the window.
    return node.checkVisibility(asked) && box.width > 0 && box.height > 0 && box.right > 0;
  };
  const named = (node) =>
    `<${node.localName} class="${node.className}"> ${node.textContent.trim().slice(0, 40)}`;
  const controls = [...document.querySelectorAll(TAKEN)].filter(
    (node) => node.tabIndex >= 0 && !node.disabled && node.type !== "hidden" && shown(node),
  );
  const reached = new Set();
  const unseen = new Set();
  const marks = (node) => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(node);
    return [outlineStyle === "none" ? "" : outlineStyle + outlineWidth, boxShadow].join(" ");
  };
  const plain = new Map(controls.map((node) => [node, marks(node)]));
  // Without it a change of colour or opacity would be under way while it is looked at.
  const still = document.head.appendChild(document.createElement("style"));
  still.textContent = "* { transition: none !important; }";
  const note = ({ target }) => {
    reached.add(target);
    if (!shown(target) || marks(target) === (plain.get(target) ?? "none")) unseen.add(target);
  };
  document.addEventListener("focusin", note);
  window.keyboard = {
    count: controls.length,
    done: () => controls.every((node) => reached.has(node)),
    report: () => {
      document.removeEventListener("focusin", note);
      still.remove();
      return {
        missed: controls.filter((node) => !reached.has(node)).map(named),
        unseen: [...unseen].map(named),
      };
    },
  };
  return controls.length;
}
