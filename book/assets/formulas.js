// Sets every formula of a page with KaTeX. Scripts marked `defer` run in order, once the page is
// read, so that KaTeX is there and so are the formulas.
for (const tex of document.querySelectorAll(".math > .tex")) {
  const formula = tex.parentElement;
  const isBlock = formula.localName === "div";
  katex.render(tex.textContent, tex, {
    displayMode: isBlock,
    macros: { ...window.katexMacros },
    throwOnError: false, // a faulty formula is shown in red, and the tests look for it
  });
  if (isBlock) continue;
  // Within a line a formula breaks after a relation or an operator, where KaTeX ends a box, and
  // keeps what touches it: no line begins with its full stop.
  for (const box of tex.querySelectorAll(".katex-base + .katex-base")) {
    box.before(document.createElement("wbr"));
  }
  const after = formula.nextSibling;
  const touching = after?.nodeType === Node.TEXT_NODE ? after.data.match(/^[^\s\w]+/) : null;
  if (touching) {
    after.deleteData(0, touching[0].length);
    formula.append(touching[0]);
  }
}
