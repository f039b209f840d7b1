/** The colors of the masks, in the order of the command line's overlays (ops/overlay.py). */
const PALETTE_RGB = [
  [255, 87, 51],
  [0, 163, 255],
  [255, 195, 0],
  [162, 89, 255],
  [0, 200, 120],
  [255, 105, 180],
  [0, 206, 209],
  [180, 120, 40],
  [140, 200, 30],
  [230, 30, 80],
  [70, 90, 255],
  [120, 130, 150],
];

/** @param {number} index @returns {string} */
export function colorOf(index) {
  return `rgb(${PALETTE_RGB[index % PALETTE_RGB.length].join(" ")})`;
}

/** Black or white, whichever reads better on a color. @param {number} index @returns {string} */
export function inkOn(index) {
  const [red, green, blue] = PALETTE_RGB[index % PALETTE_RGB.length].map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}
