# What .ci/run plays, target by target; each also works by itself.

MODULES := . cmd/conclave examples conclaveprom conclaveotel conclavegrpc internal/compare
BIN     := $(CURDIR)/bin

GOLANGCI_VERSION    := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
ETCD_36             := 3.6.16

# The version is part of the file name, so raising it installs the new tool.
GOLANGCI    := $(BIN)/golangci-lint-$(GOLANGCI_VERSION)
GOVULNCHECK := $(BIN)/govulncheck-$(GOVULNCHECK_VERSION)

# each runs a command in every module, or in those given, with that module's own go.mod,
# as importers see it. Without it, commands go through go.work. That of cmd/conclave has no
# replace, see .ci/command-mod.
each = @set -e; for m in $(or $(2),$(MODULES)); do (cd $$m; export GOWORK=off; $(command-mod); echo "[$$m] $(1)"; $(1)); done
command-mod = if [ $$m = cmd/conclave ]; then bash $(CURDIR)/.ci/command-mod; \
	$(if $(findstring mod tidy,$(1)),export GOFLAGS="$$GOFLAGS -modfile=$(BIN)/conclave.mod",export GOWORK=$(BIN)/conclave.work); fi

.PHONY: all test race heavy chaos watchlab watchlab-planted bench compare compare-quick compare-check capacity runbooks lint docs fix tidy cross consumer external vuln tools

all: tidy lint test

test:
	go test ./...

# short runs the essentials of every package.
.PHONY: short
short:
	go test -short ./...

# long is test with all of what is random or virtual, of which tests do a part by default,
# and checks what lock and election do against the specification, see spec.
.PHONY: long
long:
	CONCLAVE_LONG=1 CONCLAVE_SPEC=1 go test -timeout 20m ./...

# Under the race detector fewer tests run at once: leases of several members want to be
# renewed in time. ONLY=-short runs the essentials.
race:
	$(call each,bash $(CURDIR)/.ci/race -shuffle=on -parallel 4 -timeout 20m $(ONLY),$(filter-out internal/compare,$(MODULES)))

# heavy runs the tests of what is left out with -race, because that would compile
# large dependencies a second time.
heavy:
	cd examples && GOWORK=off go test ./fencing
	cd internal/compare && GOWORK=off go test -shuffle=on ./...
	cd conclaveprom/internal/rules && GOWORK=off go test ./...

# chaos puts the locks of real processes under real faults, see docs/chaos.md. What
# broke leaves its schedule and history in _artifacts.
chaos: $(BIN)/etcd-$(ETCD_36)
	CONCLAVE_ETCD_36=$< CONCLAVE_CHAOS=1 go test -count=1 -timeout 60m -run TestLocksKeepWhatTheyPromise -artifacts ./internal/chaos
	cd internal/compare && CONCLAVE_CHAOS=1 GOWORK=off go test -count=1 -tags chaos ./chaos
	$(MAKE) --no-print-directory watchlab

# An etcd of the version before, for rolling upgrades. It is built outside the modules
# here, which have another.
$(BIN)/etcd-$(ETCD_36):
	set -e; dir=$$(mktemp -d); trap 'rm -r "$$dir"' EXIT; cd "$$dir"; export GOWORK=off; go mod init etcd36; \
	go get go.etcd.io/etcd/server/v3@v$(ETCD_36); go build -mod=mod -o $@ go.etcd.io/etcd/server/v3

# watchlab puts streams and caches under faults, in as many bouts as CONCLAVE_WATCHLAB says,
# see docs/chaos.md. CONCLAVE_WATCHLAB_SEED repeats one.
CONCLAVE_WATCHLAB ?= 24
watchlab:
	CONCLAVE_WATCHLAB=$(CONCLAVE_WATCHLAB) go test -count=1 -timeout 12h -v -run TestWatchesTellTheTruth ./internal/chaos/watchlab

# watchlab-planted breaks package watch on purpose, in one way after another, and fails unless
# the lab finds each.
watchlab-planted:
	CONCLAVE_WATCHLAB_PLANTED=1 go test -count=1 -timeout 3h -v -run TestEveryPlantedFaultIsFound ./internal/chaos/watchlab

# steady looks for tests that fail by chance, on a busy machine: all tests RUNS times, and
# those with several members REPEATS times. It prints what failed how often, and takes hours.
RUNS     := 20
REPEATS  := 200
PACKAGES := ./...
.PHONY: steady
steady:
	go run ./internal/steady -runs $(RUNS) -repeats $(REPEATS) $(PACKAGES)

# soak has calls give up at any moment for 20 minutes and prints what the session costs
# meanwhile, and whether it grows.
soak:
	CONCLAVE_SOAK=20m go test -count=1 -timeout 40m -v -run TestASessionDoesNotGrowInASoak ./lease

bench:
	go test -run='^$$' -bench=. -benchmem ./...

# compare measures Conclave beside other libraries for 20 minutes, and records figures and
# charts in docs/performance; compare-quick takes a minute and records nothing;
# compare-check fails if a ratio has become 30 % worse than recorded. They want a machine
# that does nothing else.
compare:
	cd internal/compare && GOWORK=off go run ./cmd/compare

compare-quick:
	cd internal/compare && GOWORK=off go run ./cmd/compare -quick

compare-check:
	cd internal/compare && GOWORK=off go run ./cmd/compare -check

# verify checks the models of the protocols with Spin, see docs/verification.md; verify-quick
# with small bounds.
.PHONY: verify verify-quick
verify:
	go run ./verify -large -v

verify-quick:
	go run ./verify

# spec runs the tests of lock and election and checks what they do against the specification,
# see docs/verification.md.
.PHONY: spec
spec:
	CONCLAVE_SPEC=1 CONCLAVE_LONG=1 go test -count=1 -timeout 20m ./lock ./election

# mutants changes the code in small ways and looks whether the tests notice: hours.
.PHONY: mutants
mutants:
	go run ./verify/mutants

# capacity measures what sessions, holds, waiters, caches and observers cost, see
# docs/capacity.md.
capacity:
	cd internal/compare && GOWORK=off go run ./cmd/capacity -markdown -out ../../docs/performance

# runbooks plays the commands of docs/operations.md on real members of etcd.
runbooks:
	cd internal/runbooks && GOWORK=off go test -count=1 ./...

lint: $(GOLANGCI)
	$(call each,$(GOLANGCI) run ./...)

# docs checks links, Go blocks and commands in the Markdown files.
docs:
	bash .ci/docs

# fix applies what tidy and lint can mend by themselves.
fix: $(GOLANGCI)
	$(call each,go mod tidy)
	bash .ci/command-mod back
	$(call each,$(GOLANGCI) fmt ./...)

tidy:
	$(call each,go mod tidy -diff)
	cd conclaveprom/internal/rules && GOWORK=off go mod tidy -diff
	cd internal/runbooks && GOWORK=off go mod tidy -diff

# cross is for what others build. nosqlite leaves out a driver that takes minutes to compile.
cross:
	$(call each,GOOS=windows go vet -tags nosqlite ./...,$(filter-out internal/compare,$(MODULES)))
	$(call each,GOOS=darwin go vet -tags nosqlite ./...,$(filter-out internal/compare,$(MODULES)))

# consumer builds and runs a program that imports the library from outside.
consumer:
	bash .ci/with-etcd bash .ci/consumer

# installable installs the command at a version, as its users do.
.PHONY: installable
installable:
	bash .ci/installable

# external runs the tests that need no control over etcd's members on a real
# server: the one named by CONCLAVE_ETCD_ENDPOINTS, else `etcd` from the PATH.
external:
	bash .ci/with-etcd go test -count=1 ./lease/... ./lock/...

vuln:
	@if curl -fsS -m 10 -o /dev/null https://vuln.go.dev/index/modules.json.gz; \
	then $(MAKE) --no-print-directory govulncheck; \
	else echo "vuln: skipped: the vulnerability database cannot be reached"; fi

.PHONY: govulncheck
govulncheck: $(GOVULNCHECK)
	$(call each,$(GOVULNCHECK) ./...)

tools: $(GOLANGCI) $(GOVULNCHECK)

$(GOLANGCI):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(BIN)/golangci-lint $@

$(GOVULNCHECK):
	GOBIN=$(BIN) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mv $(BIN)/govulncheck $@
