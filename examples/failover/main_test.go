package main

import (
	"os"
	"testing"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		main() // a candidate of a test that plays the parent itself
	}
	programtest.Main(m, main)
}
