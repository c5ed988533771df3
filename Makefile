# A target's one-line meaning is the text after `##`; `make` shows them.
.DEFAULT_GOAL := help
SHELL := bash
.PHONY: help test check fmt sqlx-prepare sqlx-check bench-queue bench-pipeline bench-rollout db-reset clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## everything CI checks: format, lints, build, all tests (one test: scripts/test.sh <filter>)
	@scripts/test.sh

check: ## format and lints only
	@scripts/check.sh

fmt: ## format the source
	@cargo fmt --all

sqlx-prepare: ## renew shared/.sqlx from migrations/ and the queries
	@scripts/sqlx.sh prepare

sqlx-check: ## fail when shared/.sqlx is not up to date
	@scripts/sqlx.sh check

bench-queue: ## measure the queue; JSON lines on stdout
	@scripts/bench.sh queue

bench-pipeline: ## measure commit to image, detection and the log; JSON lines on stdout
	@scripts/bench.sh pipeline

bench-rollout: ## measure the way back, roll-outs, the edge and failed requests; JSON lines on stdout
	@scripts/bench.sh rollout

db-reset: ## drop and create anew the local database of DATABASE_URL
	@scripts/db-reset.sh

clean: ## remove what was built
	@. scripts/env.sh && cargo clean
