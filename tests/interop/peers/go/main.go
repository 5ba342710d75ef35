// A go-libp2p peer driven by JSON lines on stdin; every line is answered by one on stdout.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

const (
	echoID = "/echo/1.0.0"
	cardID = "/praxis/card/1.0.0"
)

type request struct {
	ID         int    `json:"id"`
	Command    string `json:"command"`
	Addr       string `json:"addr"`
	PeerID     string `json:"peer_id"`
	Size       int    `json:"size"`
	Count      int64  `json:"count"`
	Parallel   int    `json:"parallel"`
	WriteFirst bool   `json:"write_first"`
}

// The shape of the Praxis Go SDK's card: its decoder is strict about these types.
type card struct {
	Name         string   `json:"name"`
	Version      string   `json:"version"`
	PeerID       string   `json:"peerId"`
	Capabilities []string `json:"capabilities"`
	Tools        []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Parameters  []struct {
			Name        string `json:"name"`
			Type        string `json:"type"`
			Description string `json:"description"`
			Required    bool   `json:"required"`
		} `json:"parameters"`
	} `json:"tools"`
	Timestamp int64 `json:"timestamp"`
}

type answer map[string]any

type program struct {
	host  host.Host
	out   sync.Mutex
	mu    sync.Mutex
	cards []card
}

func (p *program) say(message answer) {
	p.out.Lock()
	defer p.out.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(message)
}

func (p *program) swapCards(s network.Stream, first bool) (card, error) {
	defer s.Close()
	mine := card{Name: "go", Version: "1.0.0", PeerID: p.host.ID().String(),
		Capabilities: []string{"p2p"}, Timestamp: time.Now().Unix()}
	var theirs card
	if first {
		if err := json.NewEncoder(s).Encode(mine); err != nil {
			return theirs, err
		}
		return theirs, json.NewDecoder(s).Decode(&theirs)
	}
	if err := json.NewDecoder(s).Decode(&theirs); err != nil {
		return theirs, err
	}
	return theirs, json.NewEncoder(s).Encode(mine)
}

func (p *program) echo(ctx context.Context, id peer.ID, data []byte) (bool, error) {
	s, err := p.host.NewStream(ctx, id, echoID)
	if err != nil {
		return false, err
	}
	defer s.Close()
	failed := make(chan error, 1)
	go func() {
		_, err := s.Write(data)
		if err == nil {
			err = s.CloseWrite()
		}
		failed <- err
	}()
	got, err := io.ReadAll(s)
	if err != nil {
		return false, err
	}
	return bytes.Equal(got, data), <-failed
}

func (p *program) streams(ctx context.Context, id peer.ID, r request) (answer, error) {
	var next, good atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, r.Parallel)
	for range r.Parallel {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := next.Add(1); n <= r.Count; n = next.Add(1) {
				same, err := p.echo(ctx, id, []byte(fmt.Sprintf("stream %d", n)))
				if err != nil {
					failed <- err
					return
				}
				if same {
					good.Add(1)
				}
			}
		}()
	}
	group.Wait()
	close(failed)
	return answer{"good": good.Load()}, <-failed
}

func (p *program) run(ctx context.Context, r request) (answer, error) {
	if r.Command == "dial" {
		addr, err := multiaddr.NewMultiaddr(r.Addr)
		if err != nil {
			return nil, err
		}
		info, err := peer.AddrInfoFromP2pAddr(addr)
		if err != nil {
			return nil, err
		}
		return answer{"peer_id": info.ID.String()}, p.host.Connect(ctx, *info)
	}
	if r.Command == "cards" {
		p.mu.Lock()
		defer p.mu.Unlock()
		return answer{"cards": append([]card{}, p.cards...)}, nil
	}
	id, err := peer.Decode(r.PeerID)
	if err != nil {
		return nil, err
	}
	switch r.Command {
	case "ping":
		result := <-ping.Ping(ctx, p.host, id)
		return answer{"rtt": result.RTT.Seconds()}, result.Error
	case "identify":
		protocols, err := p.host.Peerstore().GetProtocols(id)
		if err != nil {
			return nil, err
		}
		version, err := p.host.Peerstore().Get(id, "AgentVersion")
		return answer{"agent_version": version, "protocols": protocols}, err
	case "echo":
		data := bytes.Repeat([]byte("praxis-fast "), r.Size/12+1)[:r.Size]
		same, err := p.echo(ctx, id, data)
		return answer{"equal": same, "size": r.Size}, err
	case "streams":
		return p.streams(ctx, id, r)
	case "card":
		s, err := p.host.NewStream(ctx, id, cardID)
		if err != nil {
			return nil, err
		}
		theirs, err := p.swapCards(s, r.WriteFirst)
		return answer{"card": theirs}, err
	case "hangup":
		return answer{}, p.host.Network().ClosePeer(id)
	}
	return nil, fmt.Errorf("unknown command %q", r.Command)
}

func (p *program) answer(r request) {
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	result, err := p.run(ctx, r)
	if err != nil {
		result = answer{"error": err.Error()}
	}
	result["id"] = r.ID
	p.say(result)
}

func main() {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
		libp2p.UserAgent("go-libp2p/interop"),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p := &program{host: h}
	h.SetStreamHandler(echoID, func(s network.Stream) {
		_, _ = io.Copy(s, s)
		_ = s.Close()
	})
	h.SetStreamHandler(cardID, func(s network.Stream) {
		if theirs, err := p.swapCards(s, true); err == nil {
			p.mu.Lock()
			p.cards = append(p.cards, theirs)
			p.mu.Unlock()
		}
	})
	addrs := []string{}
	for _, addr := range h.Addrs() {
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", addr, h.ID()))
	}
	p.say(answer{"peer_id": h.ID().String(), "addrs": addrs})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go p.answer(r)
	}
	_ = h.Close()
}
