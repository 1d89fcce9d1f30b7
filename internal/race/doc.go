// Package race tells tests whether they run under the race detector, where everything takes
// several times as long.
package race
