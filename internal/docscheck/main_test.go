package main

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// With -short the roles of the page are left out.
func TestMain(m *testing.M) { etcdtest.Main(m, "^TestRoles") }
