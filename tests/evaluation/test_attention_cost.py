"""What a longer sound costs: what is kept of it, by both ways, on the tiny model."""

import json

import pytest
from tiny import tiny_engine

from afcore.app import model_facts, plots
from afcore.cli import main
from afcore.evaluation import attention_cost as cost
from afcore.jobs import Job


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return tiny_engine(tmp_path_factory.mktemp("cost"))


def test_cross_attention_keeps_audio_in_its_blocks_alone_and_a_prompt_in_every_layer(engine):
    config = cost.config_of(engine)
    found = cost.costs(cost.random_model(config), [1, 16, 40], runs=1)
    text = config.text_config
    heads = text.num_key_value_heads * text.head_dim
    for one in found:
        assert one.tokens == one.windows * config.tokens_per_window and one.read_s > 0 < one.token_s
        in_layers = cost.TEXT_TOKENS + cost.NEXT_TOKENS + (one.tokens if one.way == cost.PROMPT else 0)
        numbers = 2 * text.num_hidden_layers * heads * in_layers
        if one.way == cost.CROSS:
            blocks = len(config.cross_attention_layers)
            numbers += 2 * blocks * config.cross_attn_heads * config.cross_attn_dim_head * one.tokens
        assert one.kept_mb == pytest.approx(4 * numbers / 1e6)
    assert config.max_windows_per_audio == cost.config_of(engine).max_windows_per_audio != 40, "the engine's stays"
    with pytest.raises(ValueError, match="hears 8 windows"):
        cost.costs(cost.random_model(config, 8), [9])


def test_it_is_a_command_a_job_and_a_figure(engine, capsys):
    load = {"load": lambda model, device: engine}
    assert main.main(["bench", "--cost", "--runs", "1", "--json"], **load) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["windows"] for row in rows[::2]] == list(cost.WINDOWS) and rows[0]["way"] == cost.CROSS
    assert main.main(["bench", "--cost", "--runs", "1", "--layers", "1"], **load) == 0
    table = capsys.readouterr().out
    assert len(table.strip().splitlines()) == 2 + len(cost.WINDOWS) and "| 128 | 128 |" in table
    assert main.main(["bench", "--cost", "--runs", "0"], **load) != 0
    job = Job(lambda job: model_facts.cost(job, engine)).start()
    assert job.wait(120) and job.error is None
    assert [trace.name for trace in plots.costs(job.result).data] == [cost.PROMPT, cost.CROSS]
    assert len(plots.costs(job.result).data[0].x) == len(cost.WINDOWS)
