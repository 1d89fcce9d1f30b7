package main

import (
	"maps"
	"slices"
	"testing"
)

func TestEveryMutantFitsTheCode(t *testing.T) {
	if _, err := overlay("../..", t.TempDir(), mutants()); err != nil {
		t.Error(err)
	}
}

func TestTestsAreNamedForMutantsThatExist(t *testing.T) {
	known := knownBy()
	maps.Copy(known, shardsKnownBy())
	all := make(map[string]bool)
	for _, m := range mutants() {
		if all[m.name] {
			t.Errorf("%q is there twice", m.name)
		}
		all[m.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !all[name] {
			t.Errorf("tests are known for %q, which is no mutant", name)
		}
	}
}
