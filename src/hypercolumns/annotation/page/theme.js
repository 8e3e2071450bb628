// Light, dark, or as the system says. A classic script in the head, so that the page never shows the other one first.

(() => {
  const CHOICES = { auto: "as the system", light: "light", dark: "dark" };
  const root = document.documentElement;
  let choice = recall();

  function recall() {
    try {
      const stored = localStorage.getItem("annotate.theme");
      return Object.hasOwn(CHOICES, stored) ? stored : "auto";
    } catch {
      return "auto"; // a browser may refuse to remember anything
    }
  }

  function remember() {
    try {
      localStorage.setItem("annotate.theme", choice);
    } catch {
      // then the choice lasts as long as the page
    }
  }

  function show() {
    root.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = { auto: "◐", light: "☀", dark: "☾" }[choice];
      button.ariaLabel = `Colours: ${CHOICES[choice]}`;
      button.title = `Colours: ${CHOICES[choice]} (D)`;
    }
    window.dispatchEvent(new Event("themechange"));
  }

  show();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const names = Object.keys(CHOICES);
      choice = names[(names.indexOf(choice) + 1) % names.length];
      remember();
      show();
    });
    show();
  });
})();
