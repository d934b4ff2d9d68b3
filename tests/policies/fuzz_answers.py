"""`test_any_answer.check` under atheris, which looks for texts that reach other branches of the code; not a dependency.

    pip install atheris && python tests/policies/fuzz_answers.py -max_total_time=600

Arguments are libFuzzer's. It ends with a traceback at the first text that is neither an action nor refused in one line.
"""

import sys

import atheris

with atheris.instrument_imports(include=["policies", "envs"]):
    from test_any_answer import check, subjects


def one(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    every = list(subjects().values())
    subject = every[provider.ConsumeIntInRange(0, len(every) - 1)]
    valid = subject.valid(provider.ConsumeIntInRange(0, 2**16))
    at, to = sorted(provider.ConsumeIntInRange(0, len(valid)) for _ in range(2))
    check(subject, valid[:at] + provider.ConsumeUnicode(80) + valid[to:], valid)


if __name__ == "__main__":
    subjects()
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
