import brave.propagation.B3Propagation;
import brave.propagation.Propagation;
import brave.propagation.TraceContext;
import com.google.gson.Gson;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.context.propagation.TextMapPropagator;
import io.opentelemetry.contrib.awsxray.propagator.AwsXrayPropagator;
import io.opentelemetry.extension.trace.propagation.B3Propagator;
import io.opentelemetry.extension.trace.propagation.JaegerPropagator;
import io.opentelemetry.extension.trace.propagation.OtTracePropagator;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.Map;
import java.util.TreeMap;

/**
 * Injects and extracts contexts with OpenTelemetry's propagators for Java, and Brave's, for a test that talks to it over its standard input
 * and output. Lines are those of python/propagators.py, beside this folder.
 *
 * <p>Some of these propagators are deprecated, as their formats are.
 */
@SuppressWarnings("deprecation")
final class Propagators {
  /** A span's context, ids in hexadecimal digits. */
  private record Ids(String trace, String span, Boolean sampled) {}

  private record Question(String library, String format, Ids inject, Map<String, String> extract) {}

  private interface Library {
    Map<String, String> inject(String format, Ids context);

    /** Null where there is no context. */
    Ids extract(String format, Map<String, String> headers);
  }

  private static final class OpenTelemetry implements Library {
    private static final Map<String, TextMapPropagator> PROPAGATORS =
        Map.of(
            "tracecontext", W3CTraceContextPropagator.getInstance(),
            "b3", B3Propagator.injectingSingleHeader(),
            "b3multi", B3Propagator.injectingMultiHeaders(),
            "jaeger", JaegerPropagator.getInstance(),
            "xray", AwsXrayPropagator.getInstance(),
            "ottrace", OtTracePropagator.getInstance());

    private static final TextMapGetter<Map<String, String>> GETTER =
        new TextMapGetter<>() {
          @Override
          public Iterable<String> keys(Map<String, String> headers) {
            return headers.keySet();
          }

          @Override
          public String get(Map<String, String> headers, String name) {
            return headers.get(name);
          }
        };

    @Override
    public Map<String, String> inject(String format, Ids context) {
      TraceFlags flags = context.sampled ? TraceFlags.getSampled() : TraceFlags.getDefault();
      Span span = Span.wrap(SpanContext.create(context.trace, context.span, flags, TraceState.getDefault()));
      Map<String, String> headers = new TreeMap<>();
      PROPAGATORS.get(format).inject(Context.root().with(span), headers, Map::put);
      return headers;
    }

    @Override
    public Ids extract(String format, Map<String, String> headers) {
      SpanContext found = Span.fromContext(PROPAGATORS.get(format).extract(Context.root(), headers, GETTER)).getSpanContext();
      return found.isValid() ? new Ids(found.getTraceId(), found.getSpanId(), found.isSampled()) : null;
    }
  }

  private static final class Brave implements Library {
    private static final Map<String, B3Propagation.Format> FORMATS =
        Map.of("b3", B3Propagation.Format.SINGLE, "b3multi", B3Propagation.Format.MULTI);

    /** B3 tells of the parent's parent, too. */
    private static final long PARENT = 0x05e3ac9a4f6e3b90L;

    private static Propagation<String> propagation(String format) {
      return B3Propagation.newFactoryBuilder().injectFormat(FORMATS.get(format)).build().get();
    }

    @Override
    public Map<String, String> inject(String format, Ids context) {
      TraceContext.Builder builder = TraceContext.newBuilder();
      builder.traceIdHigh(Long.parseUnsignedLong(context.trace.substring(0, 16), 16));
      builder.traceId(Long.parseUnsignedLong(context.trace.substring(16), 16));
      builder.spanId(Long.parseUnsignedLong(context.span, 16)).parentId(PARENT).sampled(context.sampled);
      Map<String, String> headers = new TreeMap<>();
      Propagation.Setter<Map<String, String>, String> setter = Map::put;
      propagation(format).injector(setter).inject(builder.build(), headers);
      return headers;
    }

    @Override
    public Ids extract(String format, Map<String, String> headers) {
      Propagation.Getter<Map<String, String>, String> getter = Map::get;
      TraceContext found = propagation(format).extractor(getter).extract(headers).context();
      if (found == null) {
        return null;
      }
      return new Ids(String.format("%016x%016x", found.traceIdHigh(), found.traceId()), found.spanIdString(), found.sampled());
    }
  }

  private static final Map<String, Library> LIBRARIES = Map.of("OpenTelemetry", new OpenTelemetry(), "Brave", new Brave());

  private static Object answer(Question asked) {
    Library library = LIBRARIES.get(asked.library);
    if (asked.inject != null) {
      return library.inject(asked.format, asked.inject);
    }
    Map<String, String> headers = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
    headers.putAll(asked.extract);
    return library.extract(asked.format, headers);
  }

  public static void main(String[] arguments) throws IOException {
    Gson json = new Gson();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(json.toJson(answer(json.fromJson(line, Question.class))));
    }
  }
}
