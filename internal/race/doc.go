// Package race tells whether the race detector is on: code then looks for what must never be,
// at no cost without, and tests know that everything takes several times as long.
package race
