import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.tensorflow.Result;
import org.tensorflow.SavedModelBundle;
import org.tensorflow.Tensor;
import org.tensorflow.ndarray.Shape;
import org.tensorflow.ndarray.buffer.ByteDataBuffer;
import org.tensorflow.ndarray.buffer.DataBuffers;
import org.tensorflow.proto.DataType;
import org.tensorflow.proto.TensorProto;
import org.tensorflow.proto.TensorShapeProto;
import org.tensorflow.types.TFloat32;
import org.tensorflow.types.TInt32;
import org.tensorflow.types.TInt64;
import org.tensorflow.types.TString;
import org.tensorflow.types.family.TType;
import com.google.protobuf.ByteString;

/**
 * Calls the signatures of a SavedModel with tensors from files, as a Java service would with a request's.
 *
 * <p>{@code java Answer.java MODEL FOLDER}: every {@code FOLDER/<signature>/inputs/<name>} is one input, a
 * serialized {@code tensorflow.TensorProto}; every output becomes {@code FOLDER/<signature>/outputs/<name>}.
 */
public final class Answer {
  private static final Map<DataType, Class<? extends TType>> NUMBERS =
      Map.of(
          DataType.DT_FLOAT, TFloat32.class,
          DataType.DT_INT32, TInt32.class,
          DataType.DT_INT64, TInt64.class);

  public static void main(String[] arguments) throws IOException {
    Path folder = Path.of(arguments[1]);
    try (SavedModelBundle model = SavedModelBundle.load(arguments[0], "serve")) {
      for (Path signature : list(folder)) {
        answer(model, signature);
      }
    }
  }

  private static void answer(SavedModelBundle model, Path signature) throws IOException {
    Map<String, Tensor> inputs = new HashMap<>();
    for (Path file : list(signature.resolve("inputs"))) {
      inputs.put(file.getFileName().toString(), read(TensorProto.parseFrom(Files.readAllBytes(file))));
    }
    Path outputs = Files.createDirectories(signature.resolve("outputs"));
    try (Result result = model.function(signature.getFileName().toString()).call(inputs)) {
      for (Map.Entry<String, Tensor> output : result) {
        Files.write(outputs.resolve(output.getKey()), write(output.getValue()).toByteArray());
      }
    } finally {
      inputs.values().forEach(Tensor::close);
    }
  }

  private static Tensor read(TensorProto proto) {
    Shape shape =
        Shape.of(
            proto.getTensorShape().getDimList().stream().mapToLong(TensorShapeProto.Dim::getSize).toArray());
    if (proto.getDtype() == DataType.DT_STRING) {
      byte[][] values = proto.getStringValList().stream().map(ByteString::toByteArray).toArray(byte[][]::new);
      return TString.tensorOfBytes(shape, DataBuffers.ofObjects(values));
    }
    byte[] values = proto.getTensorContent().toByteArray();
    return Tensor.of(NUMBERS.get(proto.getDtype()), shape, DataBuffers.of(values));
  }

  private static TensorProto write(Tensor tensor) {
    ByteDataBuffer data = tensor.asRawTensor().data();
    byte[] values = new byte[(int) data.size()];
    data.read(values);
    TensorShapeProto.Builder shape = TensorShapeProto.newBuilder();
    for (long size : tensor.shape().asArray()) {
      shape.addDim(TensorShapeProto.Dim.newBuilder().setSize(size));
    }
    return TensorProto.newBuilder()
        .setDtype(tensor.dataType())
        .setTensorShape(shape)
        .setTensorContent(ByteString.copyFrom(values))
        .build();
  }

  private static List<Path> list(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.sorted().toList();
    }
  }
}
