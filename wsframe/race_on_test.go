//go:build race

package wsframe

// raceEnabled tells tests that the race detector allocates, and takes ten times as long.
const raceEnabled = true
