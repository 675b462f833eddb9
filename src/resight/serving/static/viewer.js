// The viewer: values of full depth are fetched once a slice, windowed here, and drawn with overlays on one canvas.
"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const canvas = document.getElementById("canvas");
  if (!viewer || !canvas) return;
  const pen = canvas.getContext("2d");
  const get = (id) => document.getElementById(id);
  const count = Number(viewer.dataset.images);
  const LEAFING_MS = 120; // a slice that is passed by faster needs no overlay
  const base = `/studies/${viewer.dataset.study}/images/`;
  const layers = [...document.querySelectorAll("[data-evidence]")].map((box) => ({
    box,
    slider: box.closest(".line, .overlays").querySelector(".opacity"),
    image: Number(box.dataset.image),
    pictures: new Map(), // by slice
    shares: null, // of the strongest evidence, slice by slice
  }));
  const kept = new Map(); // number of the image -> facts and slices
  const view = { image: 0, slice: 0, center: 0, width: 1, inverted: false, zoom: 1, x: 0, y: 0, tool: "window" };
  let facts = null;
  let shown = null; // values of the slice on display
  let plane = null; // the same after windowing, as a canvas
  let stale = true;
  let waiting = false;

  const say = (text) => {
    get("notice").hidden = !text;
    get("notice").textContent = text || "";
  };

  async function fetched(path, as) {
    const answer = await fetch(path, { credentials: "same-origin" });
    if (answer.status === 401) location.reload();
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Error(typeof told.detail === "string" ? told.detail : `The server answered ${answer.status}.`);
    }
    return answer[as]();
  }

  async function openImage(number) {
    view.image = number;
    let entry = kept.get(number);
    try {
      if (!entry) {
        entry = { facts: await fetched(base + number, "json"), slices: new Map() };
        kept.set(number, entry);
      }
      if (view.image !== number) return;
      facts = entry.facts;
      view.slice = Math.floor(facts.slices / 2);
      const select = get("image");
      if (select) select.value = String(number);
      const slices = get("slices");
      slices.hidden = facts.slices < 2;
      get("slice").max = String(facts.slices);
      canvas.setAttribute("aria-label", `Image ${number + 1} of ${count}, ${facts.width} by ${facts.height} pixels. Press ? for keys.`);
      await openSlice(view.slice);
      resetView();
      profile();
      viewer.dataset.ready = String(number);
    } catch (error) {
      shown = plane = null;
      say(error.message);
      draw();
    }
  }

  async function openSlice(place) {
    const number = view.image;
    const entry = kept.get(number);
    if (!entry) return;
    view.slice = Math.min(Math.max(place, 0), entry.facts.slices - 1);
    const wanted = view.slice;
    let values = entry.slices.get(wanted);
    if (!values) {
      const bytes = await fetched(`${base}${number}/values?place=${wanted}`, "arrayBuffer");
      values = entry.facts.bytes === 2 ? new Uint16Array(bytes) : new Uint8Array(bytes);
      entry.slices.set(wanted, values);
      if (entry.slices.size > 64) entry.slices.delete(entry.slices.keys().next().value);
    }
    if (view.image !== number || view.slice !== wanted) return;
    shown = values;
    stale = true;
    say("");
    get("slice").value = String(wanted + 1);
    draw();
    for (const layer of layers) if (isShown(layer)) drawLayer(layer);
  }

  // One table from stored values to grey: 65 536 steps instead of one computation a pixel.
  function windowed() {
    const size = facts.bytes === 2 ? 65536 : 256;
    const table = new Uint8ClampedArray(size);
    const unit = (facts.high - facts.low) / (size - 1);
    for (let i = 0; i < size; i += 1) {
      const share = (facts.low + i * unit - view.center) / view.width + 0.5;
      table[i] = Math.round(Math.min(Math.max(view.inverted ? 1 - share : share, 0), 1) * 255);
    }
    const image = new ImageData(facts.width, facts.height);
    const pixels = new Uint32Array(image.data.buffer);
    if (facts.channels === 1) {
      for (let i = 0; i < pixels.length; i += 1) {
        const grey = table[shown[i]];
        pixels[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
    } else {
      for (let i = 0, j = 0; i < pixels.length; i += 1, j += 3) {
        pixels[i] = 0xff000000 | (table[shown[j + 2]] << 16) | (table[shown[j + 1]] << 8) | table[shown[j]];
      }
    }
    plane = document.createElement("canvas");
    plane.width = facts.width;
    plane.height = facts.height;
    plane.getContext("2d").putImageData(image, 0, 0);
    stale = false;
  }

  // Pixels that are not square are shown as wide and high as they are.
  const aspect = () => (facts && facts.spacing_mm ? facts.spacing_mm[0] / facts.spacing_mm[1] : 1);

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const ratio = devicePixelRatio || 1;
      const { clientWidth, clientHeight } = canvas;
      if (canvas.width !== Math.round(clientWidth * ratio)) canvas.width = Math.round(clientWidth * ratio);
      if (canvas.height !== Math.round(clientHeight * ratio)) canvas.height = Math.round(clientHeight * ratio);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, clientWidth, clientHeight);
      if (!shown || !facts) return;
      if (stale) windowed();
      const width = facts.width * view.zoom;
      const height = facts.height * view.zoom * aspect();
      const left = clientWidth / 2 + view.x - width / 2;
      const top = clientHeight / 2 + view.y - height / 2;
      pen.imageSmoothingEnabled = view.zoom < 4;
      pen.imageSmoothingQuality = "high";
      pen.drawImage(plane, left, top, width, height);
      for (const layer of layers) {
        const picture = isShown(layer) && layer.pictures.get(view.slice);
        if (!picture) continue;
        pen.globalAlpha = Number(layer.slider.value) / 100;
        pen.drawImage(picture, left, top, width, height);
      }
      pen.globalAlpha = 1;
      labels();
    });
  }

  function labels() {
    const digits = Math.abs(view.width) < 10 ? 2 : 0;
    const unit = facts.unit ? ` ${facts.unit}` : "";
    get("window").textContent = `C ${view.center.toFixed(digits)} W ${view.width.toFixed(digits)}${unit}${view.inverted ? " inverted" : ""}`;
    const strongest = layers.filter((layer) => isShown(layer) && layer.shares && facts.slices > 1)
      .map((layer) => `\n${layer.box.dataset.label} strongest: ${peak(layer) + 1}`).join("");
    get("place").textContent = `Image ${view.image + 1} of ${count}` + (facts.slices > 1 ? `\nSlice ${view.slice + 1} of ${facts.slices}` : "") + strongest;
    get("scale").textContent = `${Math.round(view.zoom * 100)} %\n${facts.width} x ${facts.height}`;
    viewer.querySelector('[data-do="invert"]').setAttribute("aria-pressed", String(view.inverted));
  }

  function fit() {
    view.zoom = Math.min(canvas.clientWidth / facts.width, canvas.clientHeight / (facts.height * aspect())) || 1;
    view.x = view.y = 0;
    draw();
  }

  function resetView() {
    Object.assign(view, { center: facts.window_center, width: facts.window_width, inverted: facts.inverted });
    stale = true;
    fit();
  }

  function setWindow(center, width) {
    view.center = center;
    view.width = Math.max(width, (facts.high - facts.low) / 4096);
    stale = true;
    draw();
  }

  // The point under the pointer stays where it is.
  function zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const zoom = Math.min(Math.max(view.zoom * factor, 0.02), 64);
    const dx = x - canvas.clientWidth / 2;
    const dy = y - canvas.clientHeight / 2;
    view.x = dx - ((dx - view.x) * zoom) / view.zoom;
    view.y = dy - ((dy - view.y) * zoom) / view.zoom;
    view.zoom = zoom;
    draw();
  }

  function turn(step) {
    openSlice(view.slice + step).catch((error) => say(error.message));
  }

  function setTool(tool) {
    view.tool = tool;
    for (const name of ["window", "pan"]) {
      viewer.querySelector(`[data-do="${name}"]`).setAttribute("aria-pressed", String(name === tool));
    }
  }

  const actions = {
    window: () => setTool("window"),
    pan: () => setTool("pan"),
    invert: () => { view.inverted = !view.inverted; stale = true; draw(); },
    fit,
    actual: () => { view.zoom = 1; draw(); },
    reset: resetView,
    help: () => get("help").showModal(),
  };
  for (const button of viewer.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => (facts || button.dataset.do === "help") && actions[button.dataset.do]());
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!facts) return;
    canvas.setPointerCapture(event.pointerId);
    const pans = view.tool === "pan" || event.button !== 0;
    drag = { x: event.clientX, y: event.clientY, pans, view: { ...view } };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!facts) return;
    if (drag) {
      const dx = event.clientX - drag.x;
      const dy = event.clientY - drag.y;
      if (drag.pans) {
        view.x = drag.view.x + dx;
        view.y = drag.view.y + dy;
        draw();
      } else {
        const step = drag.view.width / 300;
        setWindow(drag.view.center + dy * step, drag.view.width + dx * step * 2);
      }
    } else if (shown) {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left - box.width / 2 - view.x) / view.zoom + facts.width / 2);
      const row = Math.floor((event.clientY - box.top - box.height / 2 - view.y) / (view.zoom * aspect()) + facts.height / 2);
      const inside = column >= 0 && row >= 0 && column < facts.width && row < facts.height;
      const top = facts.bytes === 2 ? 65535 : 255;
      const at = (row * facts.width + column) * facts.channels;
      const words = () => [...shown.slice(at, at + facts.channels)].map((v) => (facts.low + (v / top) * (facts.high - facts.low)).toFixed(0));
      get("value").textContent = inside ? `${column}, ${row}: ${words().join(" ")} ${facts.unit}` : "";
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { drag = null; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => facts && resetView());
  canvas.addEventListener("wheel", (event) => {
    if (!facts) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    if (facts.slices > 1 && !event.ctrlKey) turn(Math.sign(event.deltaY));
    else zoomBy(Math.exp(-event.deltaY / 500), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  // A box that was just ticked has the focus and no use for arrows; sliders and scrolling panels have.
  const leafs = (target) => target === canvas || target === document.body || target.type === "checkbox";

  document.addEventListener("keydown", (event) => {
    const inField = event.target.closest("input:not([type=checkbox]), select, textarea, dialog[open]");
    if (inField || event.ctrlKey || event.metaKey || event.altKey) return;
    const onVolume = facts && facts.slices > 1;
    const keys = {
      "?": actions.help,
      i: actions.invert,
      f: fit,
      1: actions.actual,
      r: resetView,
      "+": () => zoomBy(1.25),
      "-": () => zoomBy(0.8),
      "[": () => setWindow(view.center, view.width * 0.9),
      "]": () => setWindow(view.center, view.width / 0.9),
      "{": () => setWindow(view.center - view.width / 20, view.width),
      "}": () => setWindow(view.center + view.width / 20, view.width),
      PageUp: () => turn(-1),
      PageDown: () => turn(1),
      ArrowUp: () => (onVolume ? turn(-1) : pan(0, 40)),
      ArrowDown: () => (onVolume ? turn(1) : pan(0, -40)),
      ArrowLeft: () => pan(40, 0),
      ArrowRight: () => pan(-40, 0),
      ",": () => view.image > 0 && openImage(view.image - 1),
      ".": () => view.image + 1 < count && openImage(view.image + 1),
      o: toggleLayers,
      m: toPeak,
      n: () => leave("/worklist/next?after=" + viewer.dataset.study),
      w: () => leave("/worklist"),
    };
    const act = keys[event.key];
    const moves = event.key.startsWith("Arrow") || event.key.startsWith("Page");
    if (!act || (!facts && event.key !== "?") || (moves && !leafs(event.target))) return;
    event.preventDefault();
    act();
  });

  function pan(x, y) {
    view.x += x;
    view.y += y;
    draw();
  }

  // Cases of a reader study are left by answering them.
  function leave(path) {
    if (!("stays" in viewer.dataset)) location.assign(path);
  }

  const isShown = (layer) => layer.box.checked && layer.image === view.image;
  const peak = (layer) => layer.shares.indexOf(Math.max(...layer.shares));

  async function showLayer(layer) {
    if (layer.box.checked) {
      if (layer.image !== view.image) await openImage(layer.image);
      await drawLayer(layer);
    }
    profile();
    draw();
  }

  // What is not here yet is fetched; a volume is turned to where the evidence is strongest when a label is first shown.
  async function drawLayer(layer) {
    const { model, version, label } = layer.box.dataset;
    const query = new URLSearchParams({ model, version, label });
    const path = `${base}${layer.image}/evidence`;
    layer.box.setAttribute("aria-busy", "true");
    try {
      if (facts.slices > 1 && !layer.shares) {
        layer.shares = (await fetched(`${path}/profile?${query}`, "json")).shares;
        if (isShown(layer)) await openSlice(peak(layer));
      }
      const place = view.slice;
      if (layer.pictures.size && !layer.pictures.has(place)) await new Promise((done) => setTimeout(done, LEAFING_MS));
      if (isShown(layer) && view.slice === place && !layer.pictures.has(place)) {
        query.set("place", String(place));
        layer.pictures.set(place, await createImageBitmap(await fetched(`${path}?${query}`, "blob")));
        if (layer.pictures.size > 64) layer.pictures.delete(layer.pictures.keys().next().value);
      }
      if (layer.pictures.has(place)) layer.box.dataset.drawn = String(place);
    } catch (error) {
      layer.box.checked = Boolean(layer.shares); // the next slice may have a map
      say(error.message);
    }
    layer.box.removeAttribute("aria-busy");
    draw();
  }

  // Where along the slices the evidence lies, under the slider.
  function profile() {
    const strip = get("profile");
    const layer = layers.find((one) => isShown(one) && one.shares);
    strip.hidden = !layer;
    if (!layer) return;
    strip.width = layer.shares.length;
    const ink = strip.getContext("2d");
    layer.shares.forEach((share, place) => {
      ink.fillStyle = `rgb(240 178 106 / ${Math.round(share * 100)}%)`;
      ink.fillRect(place, 0, 1, 1);
    });
  }

  function toPeak() {
    const layer = layers.find((one) => isShown(one) && one.shares);
    if (layer) turn(peak(layer) - view.slice);
  }

  function toggleLayers() {
    const on = !layers.some((layer) => layer.box.checked);
    const wanted = on ? layers.filter((layer) => layer.image === view.image).slice(0, 1) : layers;
    for (const layer of wanted) {
      layer.box.checked = on;
      showLayer(layer);
    }
  }

  for (const layer of layers) {
    layer.box.addEventListener("change", () => showLayer(layer));
    layer.slider.addEventListener("input", draw);
  }
  const select = get("image");
  if (select) select.addEventListener("change", () => openImage(Number(select.value)));
  get("slice").addEventListener("input", () => turn(Number(get("slice").value) - 1 - view.slice));
  new ResizeObserver(() => draw()).observe(canvas);
  openImage(0);
})();
