package socketio

import "net/http"

const plain = "text/plain; charset=UTF-8"

// poll answers a GET with what there is, as soon as there is something.
func (s *session) poll(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	twice, moved := s.polling, s.conn != nil
	s.polling = s.polling || !moved
	s.mu.Unlock()
	if twice || moved {
		if twice {
			s.close(false)
		}
		errRequest.answer(w)
		return
	}
	payload := s.await(r)
	answer(w, http.StatusOK, plain, payload)
	s.sent()
	s.mu.Lock()
	s.polling = false
	s.mu.Unlock()
}

// await returns what answers a GET.
func (s *session) await(r *http.Request) []byte {
	for {
		if all := s.take(); len(all) > 0 {
			return writePayload(all)
		}
		if s.hasMoved() { // the WebSocket goes on when we have answered
			return []byte{engineNoop}
		}
		select {
		case <-s.wake:
		case <-r.Context().Done(): // what it would have got would be lost
			s.close(true)
			return nil
		case <-s.closed:
			return s.farewell()
		}
	}
}

func (s *session) hasMoved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probed || s.conn != nil
}

// farewell is the last answer to a GET: what is left, and that we close, unless
// the client did.
func (s *session) farewell() []byte {
	all := s.take()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byClient {
		return writePayload(append(all, text(engineNoop)))
	}
	return writePayload(append(all, text(engineClose)))
}

// post takes what a POST brings.
func (s *session) post(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	moved, most := s.conn != nil, s.engine.o.MaxPayload
	if len(s.sockets) == 0 {
		most = s.engine.o.MaxStranger
	}
	s.mu.Unlock()
	if moved {
		errRequest.answer(w)
		return
	}
	if !s.posting.TryLock() { // which of the two is first nobody could tell
		s.close(false)
		errRequest.answer(w)
		return
	}
	defer s.posting.Unlock()
	body, err := s.engine.o.Body(w, r, most)
	if err != nil {
		s.close(false)
		s.engine.o.Refuse(w, err)
		return
	}
	for f, err := range parsePayload(body) {
		if err == nil {
			err = s.receive(f)
		}
		if err != nil {
			s.close(false)
			errRequest.answer(w)
			return
		}
	}
	answer(w, http.StatusOK, plain, []byte("ok"))
}
