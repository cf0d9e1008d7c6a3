// A sheet to write on with mouse, finger or pen. Each finished stroke sends all of them as a PNG, an empty text without any.
// Gradio runs this when the sheet is there; element and trigger are its gifts.
const WIDTH = 6; // px of the pen on a sheet 720 px wide
const sheet = element.querySelector("canvas");
const pen = sheet.getContext("2d");
const strokes = [];
let current = null;

function place(event) {
  const box = sheet.getBoundingClientRect();
  return [((event.clientX - box.left) * sheet.width) / box.width, ((event.clientY - box.top) * sheet.height) / box.height];
}

function paint() {
  pen.fillStyle = "#fff"; // a transparent sheet would be black on a dark page
  pen.fillRect(0, 0, sheet.width, sheet.height);
  pen.strokeStyle = "#111";
  pen.lineWidth = WIDTH;
  pen.lineCap = pen.lineJoin = "round";
  for (const points of strokes) {
    pen.beginPath();
    pen.moveTo(...points[0]);
    points.forEach(([x, y], i) => {
      const [nextX, nextY] = points[i + 1] ?? [x, y];
      pen.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2); // through the middles: no corners
    });
    pen.stroke();
  }
}

function tell() {
  paint();
  sheet.parentElement.classList.toggle("empty", !strokes.length);
  trigger("submit", { png: strokes.length ? sheet.toDataURL("image/png") : "" });
}

function finish(event) {
  if (current && event.isPrimary) {
    current = null;
    tell();
  }
}

sheet.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button > 0) return;
  event.preventDefault();
  sheet.setPointerCapture(event.pointerId);
  current = [place(event)];
  strokes.push(current);
  sheet.parentElement.classList.remove("empty");
  paint();
});
sheet.addEventListener("pointermove", (event) => {
  if (!current || !event.isPrimary) return;
  const between = event.getCoalescedEvents?.() ?? [];
  current.push(...(between.length ? between : [event]).map(place));
  paint();
});
sheet.addEventListener("pointerup", finish);
sheet.addEventListener("pointercancel", finish);
element.querySelector(".undo").addEventListener("click", () => (strokes.pop(), tell()));
element.querySelector(".clear").addEventListener("click", () => ((strokes.length = 0), tell()));
// a file that is no image leaves a torn page where its picture would be; what is wrong with it is said beside
for (const [kind, shown] of [["error", "hidden"], ["load", ""]]) {
  document.addEventListener(kind, ({ target }) => target.matches?.("#picture img") && (target.style.visibility = shown), true);
}
paint();
sheet.dataset.ready = "yes"; // strokes count from now on
