package providers

import "os"

var terminate = os.Kill
