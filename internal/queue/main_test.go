package queue_test

import (
	"testing"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }
