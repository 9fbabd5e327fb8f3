"""Left padding and the positions it leads to."""

import pytest
import torch

from porter.runtime import left_pad, position_ids_from_mask


def test_padding_stands_on_the_left():
    input_ids, mask = left_pad([[5, 6], [7, 8, 9]], pad_token_id=0)
    assert input_ids.tolist() == [[0, 5, 6], [7, 8, 9]] and mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert input_ids.dtype == mask.dtype == torch.int64


def test_a_length_makes_every_batch_one_shape():
    input_ids, mask = left_pad([[5, 6], [7]], pad_token_id=3, length=4)
    assert input_ids.tolist() == [[3, 3, 5, 6], [3, 3, 3, 7]] and mask.sum(-1).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("sequences", "message"),
    [([], "no sequences"), ([[1], []], "sequence 1 is empty"), ([[1, 2, 3, 4, 5]], "5 tokens, more than .* 4")],
)
def test_what_cannot_be_padded_is_an_error(sequences, message):
    with pytest.raises(ValueError, match=message):
        left_pad(sequences, 0, length=4)


def test_positions_count_tokens_only():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert position_ids_from_mask(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
