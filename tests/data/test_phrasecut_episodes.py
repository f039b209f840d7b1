"""One-shot episodes of PhraseCut: each phrase is shown by another image."""

from phrasecut_tree import crowd

from promptseg.data.phrasecut_episodes import phrasecut_episodes


def test_episodes_leave_out_what_no_other_image_has(tmp_path):
    samples = crowd(tmp_path, 20)
    episodes = phrasecut_episodes(samples, seed=1)
    assert len(episodes) == 20
    assert all(episode.phrase.startswith("kind") for episode in episodes)
    assert "20 of 40 phrases are in no other image" in str(episodes.problems[0])
    assert episodes == phrasecut_episodes(samples, seed=1)
    assert episodes != phrasecut_episodes(samples, seed=2)
