"use strict";
// Light or dark: as the system says, until a person chooses; the choice is kept where the browser lets a file keep it.
const theme = {
  button: document.getElementById("theme"),
  system: matchMedia("(prefers-color-scheme: dark)"),
  kept() { try { return localStorage.getItem("sgexp-theme"); } catch { return null; } },
  keep(name) { try { localStorage.setItem("sgexp-theme", name); } catch { /* private window: not kept */ } },
  now() { return document.documentElement.dataset.theme || (theme.system.matches ? "dark" : "light"); },
  show() {
    const other = theme.now() === "dark" ? "light" : "dark";
    theme.button.textContent = other === "dark" ? "☾ Dark" : "☀ Light";
    theme.button.setAttribute("aria-label", `Use the ${other} theme`);
    document.dispatchEvent(new Event("theme"));
  },
};
if (theme.kept() === "dark" || theme.kept() === "light") document.documentElement.dataset.theme = theme.kept();
theme.button.hidden = false;
theme.button.addEventListener("click", () => {
  const other = theme.now() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = other;
  theme.keep(other);
  theme.show();
});
theme.system.addEventListener("change", theme.show);
theme.show();
