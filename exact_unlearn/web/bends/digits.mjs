// The eight forgotten digits: what they look like, which label they got, and what the model says now.

const GREY = 16, SIDE = 8, REACH = 1.6; // of a picture; of an output, on either side of 0
export const COLUMNS = 4;
export const sideOf = (width) => Math.min(width * 0.72, 110); // of a picture in a box

// One digit in a box of pixels: the picture, below it a scale from 3 to 5 with the wrong label and the output.
export function drawDigit([left, top, width], picture, truth, output, anew) {
  const side = sideOf(width), x0 = left + (width - side) / 2, cell = side / SIDE, out = [];
  for (let k = 0; k < picture.length; k++) {
    const grey = parseInt(picture[k], 17) / GREY;
    if (grey > 0) out.push(`<rect class="f-keep" style="fill-opacity:${grey.toFixed(2)}" x="${(x0 + (k % SIDE) * cell).toFixed(1)}" y="${(top + Math.floor(k / SIDE) * cell).toFixed(1)}" width="${(cell + 0.4).toFixed(1)}" height="${(cell + 0.4).toFixed(1)}"/>`);
  }
  const y = top + side + 16, from = left + 14, to = left + width - 14, at = (v) => from + (Math.max(-REACH, Math.min(REACH, v)) + REACH) / (2 * REACH) * (to - from);
  const mark = (v) => at(v).toFixed(1), wrong = -truth, right = output * truth > 0;
  out.push(`<path class="axis" d="M${from} ${y}H${to}M${mark(0)} ${y - 6}V${y + 6}"/>`,
    ...[[-1, 3], [1, 5]].map(([v, name]) => `<text class="tick" x="${mark(v)}" y="${y + 23}" text-anchor="middle">${name}</text>`),
    `<rect class="f-lie" style="fill-opacity:.45" x="-5" y="-5" width="10" height="10" transform="translate(${mark(wrong)} ${y}) rotate(45)"/>`,
    anew === null ? "" : `<circle class="thin s-keep" cx="${mark(anew)}" cy="${y}" r="6.5"/>`,
    `<circle class="${right ? "f-answer" : "f-lie"}" cx="${mark(output)}" cy="${y}" r="6"/>`);
  return out;
}
