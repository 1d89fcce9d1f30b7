// Package process runs copies of the running program in other roles, each told its job on
// its standard input and reporting lines of JSON on its standard output, so that they can
// be stopped, continued and killed one by one. They share a clock, see [Now].
//
// One thing ends a child in good order: the end of its input. That comes when its parent
// asks, see [Process.Ask], and when the parent is gone, however that went. A child has
// [Grace] to clean up then, and is gone after that, by itself or by [Process.Quit]. What it
// says of its end is passed on unless it ended in good order, or was killed by its parent:
// also a panic or a race while it cleans up.
package process
