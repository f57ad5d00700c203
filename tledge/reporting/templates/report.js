"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  const theme = byId("theme");
  const themes = ["system", "dark", "light"];
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % themes.length];
    document.documentElement.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
  });
})();
