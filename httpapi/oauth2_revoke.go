package httpapi

import (
	"context"
	"errors"
	"net/http"

	"jeton/node/token"
)

// postRevoke is the revocation endpoint (RFC 7009). A client may end its own tokens,
// and who has the privilege all. RFC 7009, 2.2: the answer is 200 also for a token that
// does not exist, and it is the same for one that the client may not end, which
// RFC 7009, 2.1 would have refused: a refusal would tell that there is such a token.
func (s *Server) postRevoke(ctx context.Context, x *exchange) (response, error) {
	presented, err := s.presented(x, actionInvalidateToken)
	if err != nil {
		return response{}, err
	}
	x.scratch = append(x.scratch[:0], `{}`...)
	counts, err := s.tokens.Revoke(ctx, x.caller, presented)
	switch {
	case errors.Is(err, token.ErrUnknown):
		return response{status: http.StatusOK, body: x.scratch, undecided: true}, nil
	case errors.Is(err, token.ErrDisabled):
		return response{}, &grantError{code: codeUnsupportedTokenType, description: err.Error()}
	case err != nil:
		return response{}, err
	}
	s.log.Info("tokens revoked", "by", x.who(), "count", counts.Invalidated,
		"previously", counts.PreviouslyInvalidated)
	return response{status: http.StatusOK, body: x.scratch}, nil
}
