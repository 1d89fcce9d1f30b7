// Package proctest runs the test binary again as other processes, which a test can stop,
// continue and kill: what a pause of the whole process or its death does cannot be shown
// within one.
//
// [Play] in TestMain turns such a process into the role that [Start] has started it for:
//
//	func TestMain(m *testing.M) {
//		proctest.Play(proctest.Roles{"worker": work})
//		etcdtest.Main(m)
//	}
//
// The two talk by lines: the test tells its process something with [Process.Tell], which
// comes out of [Line.Told], and hears with [Process.Says] what it says with [Line.Say].
// A process is killed at the test's end; should the test binary die before, the context of
// the role ends, and the process after it: see package process, on which this is built.
package proctest
