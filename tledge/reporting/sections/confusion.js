"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  const matrixSelect = byId("matrix-select");
  if (matrixSelect) {
    const show = () => {
      for (const matrix of document.querySelectorAll(".matrix")) {
        matrix.classList.toggle("away", matrix.dataset.matrix !== matrixSelect.value);
      }
    };
    byId("matrix-controls").hidden = false;
    matrixSelect.addEventListener("change", show);
    show();
  }
})();
