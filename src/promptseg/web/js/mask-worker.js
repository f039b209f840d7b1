/** Decodes masks and traces their outlines, beside the page's own thread. */

import { traceMask } from "./trace.js";

self.addEventListener("message", ({ data: { ticket, rles } }) => {
  const outlines = rles.map(traceMask);
  const buffers = outlines.flatMap((outline) => outline.rings.map((ring) => ring.buffer));
  self.postMessage({ ticket, outlines }, buffers);
});
