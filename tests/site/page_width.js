// Evaluated in a loaded page: how wide it is, and what sticks out of the window.
() => {
  const root = document.documentElement;
  const clips = (node) => getComputedStyle(node).overflowX !== "visible";
  const isClipped = (node) => {
    for (let at = node.parentElement; at && at !== document.body; at = at.parentElement) {
      if (clips(at) && at.getBoundingClientRect().right <= window.innerWidth) return true;
    }
    return false;
  };
  const wide = [...document.querySelectorAll("body *")].filter(
    (node) => node.getBoundingClientRect().right > window.innerWidth + 1 && !isClipped(node),
  );
  return {
    theme: root.dataset.theme,
    page: root.scrollWidth,
    window: window.innerWidth,
    culprits: wide.slice(0, 5).map((node) => `<${node.localName} class="${node.className}">`),
  };
};
