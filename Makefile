# Each target is one or two plain commands; nothing here is needed if you prefer your own environment.
export DO_NOT_TRACK := true
export NO_MKDOCS_2_WARNING := 1
PYTHON ?= python3
BIN := .venv/bin

.PHONY: ile test slow lint docs figures results torture kills pairs_disk_fuzz bench

# Set up from nothing, then train and score the Invertible Linear Embedding.
ile: .venv/done
	$(BIN)/kedro run --pipelines=ile

# Set up from nothing, then the tests, on two cores; a file's tests stay together, and share what they set up.
test: .venv/done
	$(BIN)/pytest --numprocesses=2 --dist=loadfile

# They take minutes each, so that they go to whichever core is free.
slow: .venv/done
	$(BIN)/pytest --numprocesses=2 --dist=worksteal -m slow

lint: .venv/done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs src tests benchmarks conf
	$(BIN)/proselint --config .proselintrc.json check README.md CHANGELOG.md CONTRIBUTING.md docs

# The documentation as a site in site/; any broken link or reference stops it. The graph of the pipelines goes with it.
docs: .venv/done
	$(BIN)/mkdocs build --strict
	$(BIN)/kedro viz build
	mv build site/pipelines

# The pictures of the documentation that code draws; the moving one needs the results of `make ile`.
figures: .venv/done
	$(BIN)/python docs/figures.py

# The tables of docs/results.md; DATA=<folder of real data> for all of them, QUICK=1 for a form that takes minutes.
results: .venv/done
	$(BIN)/python benchmarks/results.py $(if $(DATA),--data $(DATA)) $(if $(QUICK),--quick)

# About an hour on two cores: runs are killed, started in pairs and left without room on their disk (as root), and readers
# are given broken inputs.
torture: .venv/done
	OMP_NUM_THREADS=1 $(MAKE) --jobs=2 kills pairs_disk_fuzz

kills:
	$(BIN)/python -m tests.torture kills --times 100

pairs_disk_fuzz:
	$(BIN)/python -m tests.torture pairs --times 20
	$(BIN)/python -m tests.torture disk --times 20
	$(BIN)/python -m tests.torture sweeps --times 1
	$(BIN)/python benchmarks/fuzz.py --inputs 10000

# A quarter of an hour on two idle cores: time and memory, beside other models and libraries; writes docs/performance.json
# and docs/performance.md. If it was interrupted, it goes on where it was.
bench: .venv/done
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python benchmarks/performance.py

.venv/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
