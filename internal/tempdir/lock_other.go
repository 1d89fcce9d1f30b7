//go:build !unix

package tempdir

import (
	"errors"
	"os"
)

// canLock says that directories cannot be locked here.
const canLock = false

const wait, tryOnly = 0, 0

func lockDir(string, int) (*os.File, error) { return nil, errors.ErrUnsupported }
