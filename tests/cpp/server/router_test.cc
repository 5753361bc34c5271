#include "http/router.h"

#include <gtest/gtest.h>

#include <string>

namespace recpile::http {
namespace {

struct Case {
  const char* target;
  Endpoint endpoint;
  const char* model = "";
  const char* version = "";
};

TEST(Router, KnowsEveryEndpoint) {
  for (const Case& want : {
           Case{"/v2", Endpoint::kServerMetadata},
           Case{"/v2/", Endpoint::kServerMetadata},
           Case{"/v2?x=y/z", Endpoint::kServerMetadata},
           Case{"/v2/health/live", Endpoint::kServerLive},
           Case{"/v2/health/ready", Endpoint::kServerReady},
           Case{"/v2/models/stats", Endpoint::kAllStats},
           Case{"/v2/models/m", Endpoint::kModelMetadata, "m"},
           Case{"/v2/models/m/", Endpoint::kModelMetadata, "m"},
           Case{"/v2/models/m/versions/3", Endpoint::kModelMetadata, "m", "3"},
           Case{"/v2/models/m/ready", Endpoint::kModelReady, "m"},
           Case{"/v2/models/m/versions/3/ready", Endpoint::kModelReady, "m", "3"},
           Case{"/v2/models/m/config", Endpoint::kModelConfig, "m"},
           Case{"/v2/models/m/stats", Endpoint::kModelStats, "m"},
           Case{"/v2/models/stats/stats", Endpoint::kModelStats, "stats"},
           Case{"/v2/models/m/infer", Endpoint::kModelInfer, "m"},
           Case{"/v2/models/m/versions/3/infer", Endpoint::kModelInfer, "m", "3"},
           Case{"/v2/models/a%20b%2fc/infer", Endpoint::kModelInfer, "a b/c"},
           Case{"/v2/systemsharedmemory/status", Endpoint::kMemoryStatus},
           Case{"/v2/systemsharedmemory/region/r/status", Endpoint::kMemoryStatus},
           Case{"/v2/systemsharedmemory/region/r/register", Endpoint::kMemoryRegister},
           Case{"/v2/systemsharedmemory/region/r/unregister", Endpoint::kMemoryUnregister},
           Case{"/v2/systemsharedmemory/unregister", Endpoint::kMemoryUnregister},
           Case{"/v2/repository/index", Endpoint::kRepositoryIndex},
           Case{"/v2/repository/models/m/load", Endpoint::kRepositoryLoad, "m"},
           Case{"/v2/repository/models/m/unload", Endpoint::kRepositoryUnload, "m"},
       }) {
    const Route route = ParseTarget(want.target);
    EXPECT_EQ(route.endpoint, want.endpoint) << want.target;
    EXPECT_EQ(route.model, want.model) << want.target;
    EXPECT_EQ(route.version, want.version) << want.target;
  }
}

TEST(Router, AnythingElseIsUnknown) {
  for (const char* target : {"",
                             "/",
                             "*",
                             "v2",
                             "//",
                             "/v1",
                             "/v2/health",
                             "/v2/health/x",
                             "/v2/health/live/x",
                             "/v2/systemsharedmemory/register",
                             "/v2/systemsharedmemory/region/r",
                             "/v2/repository",
                             "/v2/repository/index/x",
                             "/v2/repository/models/m",
                             "/v2/repository/models/m/reload",
                             "/v2/repository/models/m/versions/1/load",
                             "/v2/models",
                             "/v2/models//infer",
                             "/v2/models/m/x",
                             "/v2/models/m/versions",
                             "/v2/models/m/versions/3/x",
                             "/v2/models/m/infer/x",
                             "/v2/models/%zz",
                             "/v2/models/%4",
                             "/v2/models/%",
                             "http://host/v2",
                             "/v2/models/m/a/b/c/d/e/f"}) {
    EXPECT_EQ(ParseTarget(target).endpoint, Endpoint::kUnknown) << target;
  }
  EXPECT_EQ(ParseTarget("/v2" + std::string(100'000, '/')).endpoint, Endpoint::kUnknown);
}

TEST(Router, Methods) {
  EXPECT_TRUE(MethodAllowed(Endpoint::kModelInfer, "POST"));
  EXPECT_FALSE(MethodAllowed(Endpoint::kModelInfer, "GET"));
  EXPECT_TRUE(MethodAllowed(Endpoint::kServerReady, "HEAD"));
  EXPECT_FALSE(MethodAllowed(Endpoint::kServerReady, "POST"));
  EXPECT_EQ(AllowedMethods(Endpoint::kModelStats), "GET, HEAD");
}

}  // namespace
}  // namespace recpile::http
