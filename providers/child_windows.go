package providers

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// group is a job object that the process was put into; the kernel kills all
// of it when its last handle, ours, closes. Zero: it could not be made, and
// only the process itself is reached.
type group struct {
	job     windows.Handle
	process *os.Process
}

// groupOf puts the process into a job of its own.
func groupOf(p *os.Process) group {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return group{process: p}
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	joined := p.WithHandle(func(handle uintptr) {
		if err == nil {
			err = windows.AssignProcessToJobObject(job, windows.Handle(handle))
		}
	})
	if err != nil || joined != nil {
		windows.CloseHandle(job)
		return group{process: p}
	}
	return group{job: job, process: p}
}

// terminate kills: Windows knows no polite way that reaches every process.
func (g group) terminate() { g.kill() }

func (g group) kill() {
	if g.job != 0 {
		_ = windows.TerminateJobObject(g.job, 1)
		return
	}
	_ = g.process.Kill()
}

func (g group) release() {
	if g.job != 0 {
		windows.CloseHandle(g.job)
	}
}

func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// awaitEnd returns when the process has ended.
func awaitEnd(cmd *exec.Cmd) {
	_ = cmd.Process.WithHandle(func(handle uintptr) {
		_, _ = windows.WaitForSingleObject(windows.Handle(handle), windows.INFINITE)
	})
}

// inherit hands f to the child and returns its handle, the same there.
func inherit(cmd *exec.Cmd, f *os.File) (int, error) {
	handle := f.Fd()
	err := windows.SetHandleInformation(windows.Handle(handle), windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT)
	cmd.SysProcAttr.AdditionalInheritedHandles = append(cmd.SysProcAttr.AdditionalInheritedHandles, syscall.Handle(handle))
	return int(handle), err
}

// exitText says in words how a process ended.
func exitText(state *os.ProcessState) string {
	return fmt.Sprintf("exited with status %d", state.ExitCode())
}

// guard is not needed here: the kernel guards jobs.
type guard struct{}

func (*guard) add(group)    {}
func (*guard) remove(group) {}
func (*guard) close()       {}
