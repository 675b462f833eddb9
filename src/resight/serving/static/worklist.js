// Keys of the worklist; everything works without them.
"use strict";
const links = [...document.querySelectorAll(".worklist tbody a")];
for (const select of document.querySelectorAll(".filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "n") location.assign("/worklist/next");
  const step = { j: 1, k: -1 }[event.key];
  if (!step || !links.length) return;
  const place = links.indexOf(document.activeElement);
  links[Math.min(Math.max(place + step, 0), links.length - 1)].focus();
});
