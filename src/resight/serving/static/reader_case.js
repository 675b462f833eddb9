// Reading time while the page is visible, and the confidence in words.
"use strict";
const form = document.getElementById("reading");
const viewer = document.getElementById("viewer");
if (viewer) viewer.dataset.stays = "";
let counted = 0;
let since = document.hidden ? null : performance.now();
document.addEventListener("visibilitychange", () => {
  if (document.hidden && since !== null) {
    counted += performance.now() - since;
    since = null;
  } else if (!document.hidden) since = performance.now();
});
form.confidence.addEventListener("input", () => {
  const value = Number(form.confidence.value);
  document.getElementById("said").textContent = `${value}: ${value >= 50 ? "present" : "absent"}`;
});
form.addEventListener("submit", () => {
  const total = counted + (since === null ? 0 : performance.now() - since);
  form.seconds.value = (total / 1000).toFixed(2);
  form.seconds.disabled = false;
});
