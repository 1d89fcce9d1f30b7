//go:build !race

package chaos_test

// raceEnabled says that everything takes several times as long.
const raceEnabled = false
