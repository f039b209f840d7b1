// Phrases to token ids, as the exported model's run.py does.

function splitWord(word, vocabulary) {
  const pieces = [];
  for (let start = 0; start < word.length; ) {
    let end = word.length, id;
    const lead = start ? "##" : "";
    while (end > start && (id = vocabulary.get(lead + word.slice(start, end))) === undefined) end--;
    if (end === start) return [vocabulary.get("[UNK]")];
    pieces.push(id);
    start = end;
  }
  return pieces;
}

// `readText` fetches a text file of the folder. Only models with WordPiece (or bytes, for tests) are read here.
export async function tokenize(phrase, { tokenizer, max_tokens }, readText) {
  const text = phrase.toLowerCase().trim().replace(/\s+/g, " ");
  if (tokenizer === "bytes") return [...new TextEncoder().encode(text)].slice(0, max_tokens);
  if (tokenizer !== "wordpiece") throw new Error(`this page has no tokenizer of kind ${tokenizer}`);
  const vocabulary = new Map((await readText("vocab.txt")).split("\n").map((piece, index) => [piece, index]));
  const words = text.normalize("NFD").replace(/\p{Mn}/gu, "").replace(/[^\p{L}\p{N}\s]/gu, " $& ").split(/\s+/);
  const ids = words.filter(Boolean).flatMap((word) => splitWord(word, vocabulary));
  return [vocabulary.get("[CLS]"), ...ids.slice(0, max_tokens - 2), vocabulary.get("[SEP]")];
}
