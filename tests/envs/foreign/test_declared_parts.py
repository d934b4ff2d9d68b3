"""What a file says of an environment that others wrote: modules, wrappers, bounds, instructions, success, pictures."""

import re
import subprocess
import sys

import numpy as np
import pytest
import spoken
from gymnasium.spaces import Box
from spoken import ID, TEXT, WON, played

from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.organise.store import EpisodeStore
from envs.declared import declared, unseen
from envs.errors import UserError
from envs.language import FixedInstruction
from envs.registry import task
from envs.task import EnvSpec, Task
from envs.wrappers import AnyRule, SuccessRule
from policies.action_codec import codec_for
from policies.baselines import RandomPolicy, ZeroPolicy

STARTS = [(seed, 0) for seed in range(4)]


# instructions --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("of", "text"),
    [
        ("observation.mission", r"reach the (red|green|blue) place"),
        ("info.mission", r"reset to (red|green|blue)"),
        ("language_instruction", r"go to (red|green|blue)"),
    ],
)
def test_an_instruction_is_that_of_its_episode_and_certified_from_disk(declare, tmp_path, of, text):
    path = declare(f"{ID}{WON}instruction: {{of: {of}}}\n")
    episodes = played(path)
    told = [{step.observation.instruction for step in episode.steps} for episode in episodes]
    assert all(len(texts) == 1 for texts in told)
    assert len(set.union(*told)) > 1
    for (one,) in told:
        assert re.fullmatch(text, one)
    store = EpisodeStore(tmp_path / "store")
    store.append(episodes)
    with Verifier() as verifier:
        assert [verifier.flaw(episode) for episode in store] == [""] * len(STARTS)


def test_the_words_of_instructions_are_given_or_those_of_some_resets(declare):
    sampled = task(declare(f"{ID}{WON}instruction: {{of: observation.mission}}\nlegend: [Look.]\n")).language
    assert {*sampled.words} == {"reach", "the", "place", *spoken.COLOURS}
    assert sampled.legend == ("Look.",)
    assert task(declare(f"{ID}{WON}instruction: {{of: info.mission, words: [a, b]}}\n")).language.words == ("a", "b")


SEES = "sees: {place: [{of: observation.x.0, low: 0, high: 9}]}\n"


def test_a_file_is_read_without_making_its_environment_which_all_words_of_it_share(declare, monkeypatch):
    made = []
    begin = spoken.Spoken.__init__
    monkeypatch.setattr(spoken.Spoken, "__init__", lambda self, **given: made.append(0) or begin(self, **given))
    path = declare(f"{ID}{WON}instruction: {{of: observation.mission}}\n{SEES}")
    chosen = task(path)
    assert not made
    chosen.make().close()
    tried = len(made)
    assert {*spoken.COLOURS, "reach", "place", "31"} <= {*chosen.language.words}
    unseen(path).make().close()
    assert len(made) < tried + tried  # what was found by playing is found once


def test_an_instruction_that_is_not_there_is_named_once_and_before_anything_is_played(declare):
    for words in ("", SEES):
        path = declare(f"{ID}{WON}instruction: {{of: observation.nope}}\n{words}")
        for use in (Task.make, codec_for):
            with pytest.raises(UserError, match=f"^task '{path}': unknown part 'observation.nope'"):
                use(task(path))


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        ("{of: observation.mision}", "unknown part 'observation.mision' .*did you mean 'mission'.*valid: mission, x"),
        ("{of: info.nothing}", "unknown part 'info.nothing' .*valid: mission"),
        ("{of: observation.x}", r"observation.x is array.*; valid: a path to a text"),
        ("{of: nowhere.at.all}", "unknown part 'nowhere' of path"),
    ],
)
def test_an_instruction_that_is_not_there_is_named_at_the_first_look(declare, instruction, said):
    with pytest.raises(UserError, match=said):
        played(declare(f"{ID}{WON}instruction: {instruction}\n"))


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        ("''", "instruction = ''; valid: a text, or {of: PATH}"),
        ("[a]", r"instruction = \['a'\]; valid"),
        ("{of: '..'}", r"path '\.\.' cannot be read"),
        ("{off: info.x}", "unknown config key 'off'|config key 'of' is missing"),
    ],
)
def test_an_instruction_that_is_none_is_named(declare, instruction, said):
    path = declare(f"{ID}{WON}instruction: {instruction}\n")
    with pytest.raises(UserError, match=said) as error:
        declared(path)
    assert path in str(error.value)


# success -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("success", "won"),
    [
        ("{of: [success, is_success], at_least: 1}", True),
        ("{of: [success, solved], at_least: 1}", None),
        ("[{of: return, at_least: 5}, {of: is_success, at_least: 1}]", True),
        ("[{of: return, at_least: 5}, {of: reward, at_least: 9}]", False),
        ("[{of: is_success, at_least: 2}]", False),
        ("[{of: is_success, at_least: 1}, {of: nowhere, at_least: 1}]", None),
    ],
)
def test_any_of_several_keys_or_rules_is_success(declare, success, won):
    path = declare(f"{ID}{TEXT}success: {success}\n")
    if won is None:
        with pytest.raises(UserError, match="never appeared in info; valid: is_success, return, reward, terminated"):
            played(path)
    else:
        assert {episode.success for episode in played(path)} == {won}


def test_several_rules_are_told_in_words(declare):
    rule = task(declare(f"{ID}{TEXT}success: [{{of: return, at_least: 5}}, {{of: [a, b], at_most: 1}}]\n")).env.success
    assert rule.in_words() == "return at least 5 (as declared); or a or b at most 1 (as declared)"
    assert AnyRule((SuccessRule("a", 1), SuccessRule("b", 1))).rules[1].keys == ("b",)


@pytest.mark.parametrize(
    ("success", "said"),
    [
        ("[]", r"success = \[\]; valid: a rule"),
        ("[won]", "'success' = 'won'"),
        ("[{of: won, at_least: 1}, {of: won}]", "has no bound"),
        ("{of: [], at_least: 1}", r"success of \(\)"),
        ("{of: [won, ''], at_least: 1}", r"success of \('won', ''\)"),
        ("{of: [won, terminated], at_least: 0}", "always holds"),
    ],
)
def test_a_success_that_says_nothing_is_refused(declare, success, said):
    with pytest.raises(UserError, match=said):
        declared(declare(f"{ID}{TEXT}success: {success}\n"))


# modules and wrappers ------------------------------------------------------------------------------------------------
def test_a_module_is_imported_before_the_environment_is_looked_up(tmp_path):
    (tmp_path / "registers.py").write_text(
        "import gymnasium as gym\ngym.register('HandEyeTest/Late-v0', entry_point='gymnasium.envs.classic_control:"
        "CartPoleEnv', max_episode_steps=7)\n"
    )
    (tmp_path / "task.yaml").write_text(f"id: HandEyeTest/Late-v0\nimports: [registers]\n{TEXT}{WON}")
    code = "from envs.declared import declared\nt = declared('task.yaml')\nprint(t.horizon)\nt.make().reset(seed=0)"
    path = f"{tmp_path}:{':'.join(sys.path)}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "7", done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("imports: [no_such_module]", "imports: no module 'no_such_module'; valid once it is installed"),
        ("imports: [spoken.more]", "imports: no module 'spoken.more'"),
        ("imports: [raising_module]", "imports: 'raising_module' cannot be imported: RuntimeError: no licence"),
        ("imports: [needing_module]", "imports: 'needing_module' needs 'another_module'"),
        ("wrappers: [Darker]", "wrappers: 'Darker'; valid: MODULE:CLASS"),
        ("wrappers: ['spoken:Darkest']", "wrappers: no 'Darkest' in 'spoken'; valid: .*Darker"),
        ("wrappers: ['nowhere:Darker']", "imports: no module 'nowhere'"),
        ("wrappers: [{path: 'spoken:Darker', kwargs: {of: 2}}]", "wrappers: spoken:Darker with {'of': 2} raised TypeE"),
        ("wrappers: ['spoken:no_environment']", "wrappers: spoken:no_environment made str; valid: a wrapper of Gym"),
        ("wrappers: [{kwargs: {by: 2}}]", "'path' is missing"),
        ("wrappers: [{path: 'spoken:Darker', kwarg: {by: 2}}]", "unknown config key 'kwarg' .*; valid: kwargs, path"),
        ("bounds: 3", "^task '.*': bounds = 3, but each Box of Dict"),
    ],
)
def test_what_cannot_be_imported_or_wrapped_is_one_line(declare, tmp_path, monkeypatch, more, said):
    (tmp_path / "raising_module.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "needing_module.py").write_text("import another_module")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = ID if "wrappers" in more else "id: HandEyeTest/Spoken-v0\n"
    with pytest.raises(UserError, match=said) as error:
        task(declare(f"{text}{TEXT}{WON}{more}\n")).make()
    assert "\n" not in str(error.value)


def test_wrappers_are_applied_in_their_order(declare):
    more = "wrappers: ['spoken:Darker', {path: 'spoken:Darker', kwargs: {by: 3}}]\n"
    bright, dark = (played(declare(f"{ID}{TEXT}{WON}{text}"), [(0, 0)])[0] for text in ("", more))
    frame, darker = (episode.steps[0].observation.frames[0] for episode in (bright, dark))
    assert 0 < darker.max() <= frame.max() // 3 + 1


# actions -------------------------------------------------------------------------------------------------------------
def test_boxes_without_bounds_are_declared_and_played(declare, monkeypatch):
    wide = Box(-np.inf, np.inf, (2,), np.float64)
    spec = EnvSpec("HandEyeTest/Spoken-v0", {"space": wide}, SuccessRule("is_success", 1))
    odd = Task("odd", "declared", "practice", spec, language=FixedInstruction("go"))
    with pytest.raises(UserError, match=r"into words without bounds: \[low, high\] in the task's file"):
        codec_for(odd)
    bounded = odd.with_env(bounds=((-2, 2), (0, 1)))
    codec = codec_for(bounded)
    np.testing.assert_array_equal(codec.decode("move +4 -4")[1], [2, 0])
    (episode,) = rollout(bounded, RandomPolicy(codec.action.space), [(0, 0)])
    assert all(codec.action.space.contains(step.decision.action) for step in episode.steps)


@pytest.mark.parametrize("bounds", ["[1, 2, 3]", "wide", "{push: [0, 9]}", "{pull: [0, 1]}"])
def test_bounds_that_cannot_be_are_one_line(declare, bounds):
    with pytest.raises(UserError, match="bounds"):
        task(declare(f"{ID}{TEXT}{WON}bounds: {bounds}\n")).make()


def test_structured_actions_of_a_file_are_words(declare):
    codec = codec_for(task(declare(f"{ID}{TEXT}{WON}levels: 3\nbounds: {{push: [0, 0.5]}}\n")))
    assert codec.encode("", {"push": np.array([0.5]), "stop": np.int64(1)}) == "move push +1 stop 1"


def test_zero_play_has_an_action_of_each_part(declare):
    chosen = task(declare(f"{ID}{TEXT}{WON}"))
    (episode,) = rollout(chosen, ZeroPolicy(codec_for(chosen).action.space), [(0, 0)])
    assert episode.steps[0].decision.action == {"push": np.array([0.0]), "stop": 0}
