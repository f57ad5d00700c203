"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  const gallery = byId("gallery");
  if (gallery) {
    const photos = [...gallery.children];
    const [artifact, label, kind, order] = ["filter-artifact", "filter-label", "filter-kind", "sort"].map(byId);
    const surest = (photo) =>
      Math.max(...[...photo.querySelectorAll("li:not([hidden])")].map((answer) => Number(answer.dataset.confidence)));
    const keys = {
      original: (photo) => -Number(photo.dataset.confidence),
      unsure: (photo) => Number(photo.dataset.confidence),
      artifact: (photo) => -surest(photo),
    };
    const update = () => {
      let shown = 0;
      for (const photo of photos) {
        let answers = 0;
        for (const answer of photo.querySelectorAll("li")) {
          answer.hidden = (artifact.value !== "" && answer.dataset.artifact !== artifact.value) ||
            (kind.value !== "" && answer.dataset.kind !== kind.value);
          answers += answer.hidden ? 0 : 1;
        }
        photo.hidden = answers === 0 || (label.value !== "" && photo.dataset.label !== label.value);
        shown += photo.hidden ? 0 : 1;
      }
      const key = keys[order.value];
      const visible = photos.filter((photo) => !photo.hidden);
      const rest = photos.filter((photo) => photo.hidden);
      if (key) {
        const ranks = new Map(visible.map((photo) => [photo, key(photo)]));
        visible.sort((one, other) => ranks.get(one) - ranks.get(other));
      }
      gallery.append(...visible, ...rest);
      byId("gallery-count").textContent = `${shown} of ${photos.length} photos`;
    };
    byId("gallery-controls").hidden = false;
    for (const control of [artifact, label, kind, order]) control.addEventListener("change", update);
    update();
  }
})();
