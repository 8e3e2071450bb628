// Light, dark, or as the system says. A classic script in the head, so that the page never shows the other one first.

(() => {
  const CHOICES = { auto: "as the system", light: "light", dark: "dark" };
  const root = document.documentElement;
  const stored = () => localStorage.getItem("theme");
  let choice = stored() in CHOICES ? stored() : "auto";

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
      localStorage.setItem("theme", choice);
      show();
    });
    show();
  });
})();
