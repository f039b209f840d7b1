/** Light and dark: the system's wish, until the switch says otherwise. */

const KEY = "promptseg.theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

/** @param {HTMLElement} button */
export function wireTheme(button) {
  const apply = () => {
    document.documentElement.dataset.theme = localStorage.getItem(KEY) ?? (systemIsDark.matches ? "dark" : "light");
  };
  apply();
  systemIsDark.addEventListener("change", apply);
  button.addEventListener("click", () => {
    localStorage.setItem(KEY, document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  });
}
