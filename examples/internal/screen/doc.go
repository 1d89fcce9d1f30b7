// Package screen decides how the examples look: live on a terminal, as plain lines
// elsewhere.
package screen
