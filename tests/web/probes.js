// What the tests ask of a page.

// [colour, background, contrast] of every meaning on both grounds
window.contrasts = () => {
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const probe = document.body.appendChild(document.createElement("i"));
  const light = (name) => {
    probe.style.color = `var(--${name})`;
    pixel.fillStyle = getComputedStyle(probe).color;
    pixel.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const colours = ["ink", "soft", "keep", "lie", "answer", "proof", "bad", "mine"];
  return colours.flatMap((fore) => ["paper", "panel"].map((back) => {
    const [low, high] = [light(fore), light(back)].sort((x, y) => x - y);
    return [fore, back, (high + 0.05) / (low + 0.05)];
  }));
};

window.idsThatOccurTwice = () => {
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  return ids.filter((id, i) => ids.indexOf(id) !== i);
};
