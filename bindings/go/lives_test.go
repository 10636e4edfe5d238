package boxlite_test

// The life of a box: found or made by its name, measured, bounded; its end, waited for, and its logs.

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"boxlite"
)

func TestLives(t *testing.T) {
	ctx := within(t)
	runtime, home := newRuntime(t, boxlite.RuntimeOptions{})
	box, created, err := runtime.GetOrCreate(ctx, boxlite.BoxOptions{Name: "one", Image: image, MemoryMiB: 256, PIDsMax: 16, CPUMillis: 500})
	if err != nil || !created || box.Name() != "one" {
		t.Fatalf("got %v, %v", created, err)
	}
	oneOfManyMakesIt(ctx, t, runtime)

	if _, err := box.Wait(ctx); !errors.Is(err, boxlite.ErrInvalidState) {
		t.Errorf("got %v", err)
	}
	if _, err := box.OpenLog(boxlite.ConsoleLog); !errors.Is(err, boxlite.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := box.Metrics(ctx); !errors.Is(err, boxlite.ErrInvalidState) {
		t.Errorf("got %v", err)
	}

	figuresCount(ctx, t, runtime, box)
	waitsAreGivenUp(ctx, t, box)
	whoeverWaitsIsTold(ctx, t, home, box)

	log, err := box.OpenLog(boxlite.ShimLog)
	must(t, err)
	text, err := io.ReadAll(log)
	must(t, err)
	must(t, log.Close())
	if !strings.Contains(string(text), "ready") {
		t.Errorf("got %q", text)
	}
	if _, err = box.OpenLog(7); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	must(t, runtime.Remove(ctx, "one", false))
	if _, err = box.OpenLog(boxlite.ShimLog); !errors.Is(err, boxlite.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	must(t, box.Close())
	if _, err = box.Wait(ctx); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func oneOfManyMakesIt(ctx context.Context, t *testing.T, runtime *boxlite.Runtime) {
	var all sync.WaitGroup
	made := make(chan bool, 8)
	for i := 0; i < cap(made); i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			box, created, err := runtime.GetOrCreate(ctx, boxlite.BoxOptions{Name: "many", Image: image})
			if err != nil {
				t.Error(err)
				return
			}
			made <- created
			_ = box.Close()
		}()
	}
	all.Wait()
	close(made)
	times := 0
	for created := range made {
		if created {
			times++
		}
	}
	if times != 1 {
		t.Errorf("it was made %d times", times)
	}
	must(t, runtime.Remove(ctx, "many", false))
	if _, _, err := runtime.GetOrCreate(ctx, boxlite.BoxOptions{Name: "a b"}); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
}

func figuresCount(ctx context.Context, t *testing.T, runtime *boxlite.Runtime, box *boxlite.Box) {
	must(t, box.Command(ctx, "true").Run())
	if err := box.Command(ctx, "no-such-program").Run(); !errors.Is(err, boxlite.ErrExecution) {
		t.Errorf("got %v", err)
	}
	out, err := box.Command(ctx, "sh", "-c", "for i in $(seq 40); do sleep 60 >&- 2>&- & done; echo all").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "fork") {
		t.Errorf("got %q, %v", out, err)
	}
	of, err := box.Metrics(ctx)
	if err != nil || of.Commands != 2 || of.CommandErrors != 1 || of.CPU == 0 || of.MemoryBytes < 10<<20 || of.DiskBytes == 0 ||
		of.GuestProcesses == 0 || of.GuestMemoryUsedBytes >= of.GuestMemoryTotalBytes || of.Boot == 0 || of.Start < of.Boot ||
		of.All["memory_bytes"] != of.MemoryBytes {
		t.Errorf("got %+v, %v", of, err)
	}
	if out, err = box.Command(ctx, "cat", "/sys/fs/cgroup/cpu.max").Output(); string(out) != "50000 100000\n" {
		t.Errorf("got %q, %v", out, err)
	}
	all, err := runtime.Metrics(ctx)
	if err != nil || all.BoxesCreated < 2 || all.BoxesRunning != 1 || all.Commands != 3 || all.CommandErrors != 1 ||
		all.StartsBooted+all.StartsCloned != 1 || all.All["boxes_running"] != 1 {
		t.Errorf("got %+v, %v", all, err)
	}
}

func waitsAreGivenUp(ctx context.Context, t *testing.T, box *boxlite.Box) {
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := box.Wait(short); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, boxlite.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	before := entries("/proc/self/fd")
	for i := 0; i < 50; i++ {
		over, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := box.Wait(over); !errors.Is(err, context.Canceled) || !errors.Is(err, boxlite.ErrCancelled) {
			t.Errorf("got %v", err)
		}
	}
	// Other descriptors may come and go, but not one for each.
	until(t, "descriptors are as few as before", func() bool { return entries("/proc/self/fd") <= before+25 })
}

func whoeverWaitsIsTold(ctx context.Context, t *testing.T, home string, box *boxlite.Box) {
	elsewhere, _ := newRuntime(t, boxlite.RuntimeOptions{HomeDir: home})
	other, err := elsewhere.Get(ctx, "one")
	must(t, err)
	ends, begun := make(chan *boxlite.BoxEnd, 200), make(chan struct{}, 200)
	for i := 0; i < cap(ends); i++ {
		one := box
		if i%2 == 0 {
			one = other
		}
		go func() {
			begun <- struct{}{}
			end, err := one.Wait(ctx)
			if err != nil {
				t.Error(err)
			}
			ends <- end
		}()
	}
	for i := 0; i < cap(ends); i++ {
		<-begun
	}
	// Those that wait through it go on.
	waiting, err := elsewhere.Get(ctx, "one")
	must(t, err)
	last := make(chan *boxlite.BoxEnd)
	inside := watching(ctx)
	go func() {
		end, err := waiting.Wait(inside)
		if err != nil {
			t.Error(err)
		}
		last <- end
	}()
	<-inside.asked
	must(t, waiting.Close())
	must(t, box.Stop(ctx))
	for i := 0; i < cap(ends)+1; i++ {
		var end *boxlite.BoxEnd
		select {
		case end = <-ends:
		case end = <-last:
		}
		if end == nil || end.Reason != boxlite.EndStopped || end.Reason.String() != "stopped" || end.String() == "" {
			t.Fatalf("got %+v", end)
		}
	}
	if end, err := other.Wait(ctx); err != nil || end.Reason != boxlite.EndStopped {
		t.Errorf("got %+v, %v", end, err)
	}
}

// A watchedContext tells when somebody waits for its end.
type watchedContext struct {
	context.Context
	once  *sync.Once
	asked chan struct{}
}

func watching(ctx context.Context) watchedContext {
	return watchedContext{ctx, &sync.Once{}, make(chan struct{})}
}

func (c watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Done()
}

func TestOtherEnds(t *testing.T) {
	ctx := within(t)
	runtime, _ := newRuntime(t, boxlite.RuntimeOptions{})
	var all sync.WaitGroup
	for reason, options := range map[boxlite.EndReason]boxlite.BoxOptions{
		boxlite.EndLifetime: {MaxLifetime: 3 * time.Second},
		boxlite.EndIdle:     {IdleTimeout: 2 * time.Second},
		boxlite.EndKilled:   {},
	} {
		reason, options := reason, options
		options.Image, options.MemoryMiB = image, 256
		all.Add(1)
		go func() {
			defer all.Done()
			end, err := endOf(ctx, runtime, options, reason == boxlite.EndKilled)
			if err != nil || end.Reason != reason || end.Message == "" {
				t.Errorf("%v: got %+v, %v", reason, end, err)
			}
		}()
	}
	all.Wait()
	var told *boxlite.Error
	for subject, options := range map[string]boxlite.BoxOptions{
		"MaxLifetime": {MaxLifetime: -1}, "IdleTimeout": {IdleTimeout: -time.Hour}, "pids": {PIDsMax: -1}, "files": {MaxOpenFiles: -1},
		"millis": {CPUMillis: 256001},
	} {
		if _, err := runtime.Create(ctx, options); !errors.As(err, &told) || told.Subject != subject {
			t.Errorf("%s: got %v", subject, err)
		}
	}
}

func endOf(ctx context.Context, runtime *boxlite.Runtime, options boxlite.BoxOptions, kill bool) (*boxlite.BoxEnd, error) {
	box, err := runtime.Create(ctx, options)
	if err != nil {
		return nil, err
	}
	if err = box.Start(ctx); err != nil {
		return nil, err
	}
	if kill {
		info, err := box.Info(ctx)
		if err != nil {
			return nil, err
		}
		watched := watching(ctx)
		go func() {
			<-watched.asked
			_ = syscall.Kill(info.PID, syscall.SIGKILL)
		}()
		return box.Wait(watched)
	}
	return box.Wait(ctx)
}

// A registry that asks for a login gets docker's, unless that is not wanted.
func TestDockerConfig(t *testing.T) {
	ctx, none := within(t), ""
	logins := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, asked *http.Request) {
		name, password, given := asked.BasicAuth()
		if given {
			logins <- name + ":" + password
			http.NotFound(to, asked)
			return
		}
		to.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(to, "{}", http.StatusUnauthorized)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	config := filepath.Join(t.TempDir(), "config.json")
	must(t, os.WriteFile(config, []byte(`{"auths": {"`+host+`": {"username": "ann", "password": "secret"}}}`), 0o600))
	for _, one := range []struct {
		file  *string
		wants error
	}{{&none, boxlite.ErrNetwork}, {&config, boxlite.ErrNotFound}} {
		runtime, _ := newRuntime(t, boxlite.RuntimeOptions{
			DockerConfig: one.file, Registries: []boxlite.Registry{{Host: host, PlainHTTP: true}},
		})
		if len(logins) != 0 {
			t.Errorf("got %q", <-logins)
		}
		if _, err := runtime.PullImage(ctx, host+"/private:1"); !errors.Is(err, one.wants) {
			t.Errorf("got %v", err)
		}
	}
	if login := <-logins; login != "ann:secret" {
		t.Errorf("got %q", login)
	}
}

// A mirror is asked before its registry; what is none, or no authority, is refused by name.
func TestMirrorsAndAuthorities(t *testing.T) {
	ctx, asked := within(t), make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		asked <- request.URL.Path
		http.NotFound(to, request)
	}))
	defer server.Close()
	trusted := httptest.NewTLSServer(nil)
	defer trusted.Close()
	file, none := filepath.Join(t.TempDir(), "ca.pem"), ""
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.Certificate().Raw})
	must(t, os.WriteFile(file, authority, 0o600))
	options := boxlite.RuntimeOptions{
		DockerConfig: &none, CAFiles: []string{file},
		Registries: []boxlite.Registry{{Host: "127.0.0.1:1", Mirrors: []string{server.URL}}},
	}
	runtime, _ := newRuntime(t, options)
	if _, err := runtime.PullImage(ctx, "127.0.0.1:1/some/image:1"); !errors.Is(err, boxlite.ErrNetwork) {
		t.Errorf("got %v", err)
	}
	found := false
	for len(asked) > 0 {
		found = <-asked == "/v2/some/image/manifests/1" || found
	}
	if !found {
		t.Error("the mirror was not asked")
	}
	options.HomeDir = t.TempDir()
	options.CAFiles = []string{file + ".away"}
	var refused *boxlite.Error
	if _, err := boxlite.Open(options); !errors.As(err, &refused) || refused.Subject != file+".away" {
		t.Errorf("got %v", err)
	}
	options.CAFiles, options.Registries[0].Mirrors = nil, []string{"ftp://there"}
	if _, err := boxlite.Open(options); !errors.Is(err, boxlite.ErrConfig) {
		t.Errorf("got %v", err)
	}
}
