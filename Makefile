# Short verbs for people; .ci/run is what a machine runs.
BIN = .venv/bin

.PHONY: setup test lint format types contracts cov docs docs-html clients-table conformance-peers bench bench-quick bench-one-core bench-growth bench-jobs bench-memory bench-micro bench-uploader chaos soak mutants check serve clean

setup:      ## make .venv with everything for development
	python3 -m venv .venv
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q -e . --group dev

test:       ## run the tests
	$(BIN)/pytest

lint:       ## find what is wrong with the text
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format:     ## put the text in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types:      ## check the types
	$(BIN)/mypy

contracts:  ## check which room imports which
	$(BIN)/lint-imports --no-cache

cov:        ## run the tests and report branch coverage, in total and by room
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
	@for room in tusd_py/*/; do \
		printf '%-24s' "$$room"; $(BIN)/coverage report --include="$$room*" --format=total; echo; \
	done

docs:       ## write the generated pages
	$(BIN)/tusd-py config --reference > docs/reference/settings.md
	$(BIN)/python docs/command_line.py > docs/reference/command-line.md

docs-html:  ## build the pages into build/html, warnings as errors
	$(BIN)/sphinx-build -q -W --keep-going docs build/html

clients-table: ## run real clients and write the page about them; needs node, curl, chromium and the group "browser"
	$(BIN)/python -m pytest -q -p tests.interop.table tests/interop --deselect tests/interop/test_clients_page.py

conformance-peers: ## ask other servers what conformance/ asks and write conformance/RESULTS.md; needs node and npm
	$(BIN)/python -m conformance.peers

bench:      ## measure side by side with other servers and write the page about it; takes a while, needs node and npm
	$(BIN)/python -m benchmarks $(BENCH) --json benchmarks/results/latest.json
	$(BIN)/python -m benchmarks --docs benchmarks/results/latest.json

bench-quick: ## the same with small sizes, for a first look; options in BENCH="--peer tusd=PATH"
	$(BIN)/python -m benchmarks --quick $(BENCH)

bench-one-core: ## the same where each server has one core; as root BENCH="--remount --place DIR" has tusd that syncs
	$(BIN)/python -m benchmarks --processors 1 $(BENCH) --json benchmarks/results/one-core.json \
		--only one-big-body chunks chunks-8 small-files many-100 tiny-chunks heads-1 heads-64 creations-1 creations-64
	$(BIN)/python -m benchmarks --docs benchmarks/results/latest.json

bench-growth: ## measure what many uploads cost; `make bench` puts it on the page
	$(BIN)/python -m benchmarks.growth $(BENCH) --json benchmarks/results/growth.json

bench-jobs: ## measure what jobs and hooks cost, and write the page; takes a few minutes
	$(BIN)/python -m benchmarks.jobs $(BENCH) --json benchmarks/results/jobs.json
	$(BIN)/python -m benchmarks --docs benchmarks/results/latest.json

bench-memory: ## measure what clients cost in memory; as root also with a disk that is held up
	$(BIN)/python -m benchmarks.memory $(BENCH) --json benchmarks/results/memory.json

bench-uploader: ## measure the uploader beside tuspy and curl, and write the page
	$(BIN)/python -m benchmarks.uploader $(BENCH) --json benchmarks/results/uploader.json
	$(BIN)/python -m benchmarks --docs benchmarks/results/latest.json

bench-micro: ## count what single requests cost; BENCH="--against FILE" compares with an earlier run
	$(BIN)/python -m benchmarks.micro $(BENCH)

chaos:      ## the fault programme in the volume of CI; as root also power cuts and full disks; ends with its figures
	$(BIN)/python -m pytest -q tests/faults --volume ci $(FAULTS)

soak:       ## the same at length; KILLS=, CUTS=, OPS=, ... say how much, FAULTS="--fault-seed N" which
	$(BIN)/python -m pytest -q tests/faults --volume soak --timeout 0 $(FAULTS)

mutants:    ## put known faults into copies of the server, one by one, and see the tests fail
	$(BIN)/python -m tests.mutants $(MUTANTS)

check:      ## everything that must be green before a commit
	.ci/run

serve:      ## start a server on ./data
	$(BIN)/tusd-py serve

clean:      ## remove what was made
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
