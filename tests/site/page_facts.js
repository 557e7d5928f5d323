// Evaluated in a loaded page: waits until it is complete, then reports what the tests look at.
async () => {
  const FORMULA_MS = 15000;
  const PLOT_MS = 10000;
  const FIGURE_MS = 10000;
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const waitFor = async (condition, ms) => {
    const end = performance.now() + ms;
    while (!condition() && performance.now() < end) await pause(25);
    return Boolean(condition());
  };
  const text = (node) => (node?.textContent ?? "").replace(/\s+/g, " ").trim();
  const where = (node) => {
    const owner = node.closest("[id]");
    return `<${node.localName} class="${node.className}"> in #${owner ? owner.id : "?"}`;
  };
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  // The caption of a picture: its own <figcaption>, or that of the figure around it.
  const caption = (node) =>
    text(node.querySelector("figcaption") ?? node.closest("figure")?.querySelector("figcaption"));

  const article = document.querySelector("article") ?? document.body;
  const formulas = all(".math");
  const isSet = (formula) => formula.querySelector(".katex, .katex-error") !== null;
  await waitFor(() => formulas.every(isSet), FORMULA_MS);

  const plots = all(".plotly-graph-div, .js-plotly-plot");
  const drawn = (plot) => plot.querySelector(".main-svg") !== null;
  await waitFor(() => plots.every(drawn), PLOT_MS);
  await document.fonts.ready;

  // Figures further down are loaded when a reader comes near them; here it is all at once.
  const images = all("img", article);
  for (const image of images) image.loading = "eager";
  await waitFor(() => images.every((image) => image.complete), FIGURE_MS);

  const rawTex = /\\[()[\]]|\$\$|\\begin\{|\\[a-zA-Z]{2,}|\$[^$\s][^$]*[\\^_][^$]*\$/;
  const skipped = "code, pre, script, style, noscript, textarea, .katex, template";
  const unrendered = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.parentElement.closest(skipped) && rawTex.test(node.data)) {
      unrendered.push(text(node).slice(0, 80));
    }
  }
  if (rawTex.test(document.title)) unrendered.push(`title: ${document.title}`);

  // What KaTeX cannot read it shows whole; an unknown macro alone is set as text, in its red.
  const faulty = (node) =>
    node.matches(".katex-error") || getComputedStyle(node).color === "rgb(204, 0, 0)";

  // Icons that are no letter of their font, or of one that did not come.
  const icons = all("i[class*='fa-'], span[class*='fa-']");
  const isIcon = (icon) => {
    const { content, font } = getComputedStyle(icon, "::before");
    return /^"[\ue000-\uf8ff]"$/.test(content) && font.includes("Font Awesome");
  };
  const came = [...document.fonts].filter((font) => font.status === "loaded");

  return {
    icons: icons.length,
    iconFont: came.some((font) => font.family.includes("Font Awesome")),
    missingIcons: icons.filter((icon) => !isIcon(icon)).map((icon) => icon.className),
    title: document.title,
    theme: document.documentElement.dataset.theme,
    formulas: formulas.length,
    unrenderedFormulas: formulas
      .filter((formula) => formula.querySelectorAll(".katex").length !== 1)
      .map((formula) => text(formula).slice(0, 80)),
    mathFaults: all(".katex-error, .katex .mord.text").filter(faulty).map(text),
    rawTex: unrendered,
    images: images.map((image) => ({
      source: image.getAttribute("src").slice(0, 120),
      alt: (image.getAttribute("alt") ?? "").trim(),
      caption: caption(image),
      loaded: image.complete && image.naturalWidth > 0,
    })),
    figures: all("figure", article).map((figure) => ({
      where: where(figure),
      caption: caption(figure),
    })),
    interactive: all(".interactive-figure", article).map((figure) => ({
      where: where(figure),
      label: (figure.getAttribute("aria-label") ?? "").trim(),
      caption: caption(figure),
    })),
    stray: plots.filter((plot) => !plot.closest(".interactive-figure")).map(where),
    blank: plots.filter((plot) => !drawn(plot)).map(where),
  };
};
