// One button for all folded code of a page: it opens every fold, or closes every fold. It is made
// here, because without scripts it could do nothing. The folds of solutions are left alone.
(() => {
  const KEY = "show-all-code";

  // Where the browser keeps nothing (private windows, some settings) the choice lasts for a page.
  const remembered = () => {
    try {
      return localStorage.getItem(KEY) === "true";
    } catch {
      return false;
    }
  };
  const remember = (shown) => {
    try {
      localStorage.setItem(KEY, String(shown));
    } catch {
      // The button still works on this page.
    }
  };

  const start = () => {
    const folds = [...document.querySelectorAll("details.hide")].filter((fold) =>
      fold.querySelector(":scope > .cell_input"),
    );
    const title = document.querySelector("article h1");
    if (folds.length === 0 || title === null) return;

    const button = document.createElement("button");
    button.type = "button";
    button.className = "code-switch";
    // Its name stays: whether it is pressed says the rest.
    button.textContent = "Show all code";
    const set = (shown) => {
      button.setAttribute("aria-pressed", String(shown));
      for (const fold of folds) fold.open = shown;
    };
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      set(shown);
      remember(shown);
    });
    set(remembered());
    title.after(button);
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
